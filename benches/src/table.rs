//! What was measured, as tables in Markdown: each number is the median, with the least and the greatest.

use crate::load::Slice;

/// What was measured of one row.
pub struct Measured {
    /// Its name.
    pub name: String,
    /// Of each round.
    pub slices: Vec<Slice>,
}

/// A row that is held against floors.
pub struct Budget<'a> {
    /// The row.
    pub row: &'a Measured,
    /// The kind of its floors.
    pub kind: &'a str,
    /// The floors, on one thread and on two.
    pub floors: [&'a Measured; 2],
    /// How many times the floor's cost is allowed.
    pub factor: f64,
    /// Whether the floor's rate is to be reached as well, but for the same factor.
    pub rate_too: bool,
}

impl Measured {
    /// Whether all calls ended as they were meant to.
    pub fn is_as_expected(&self) -> bool {
        self.slices.iter().all(|slice| slice.unexpected == 0)
    }

    fn of(&self, number: impl Fn(&Slice) -> f64) -> Vec<f64> {
        self.slices.iter().map(number).collect()
    }
}

/// Prints what was measured.
pub fn print(rows: &[Measured]) {
    print_with(&[], rows, |_| Vec::new());
}

/// Prints what was measured, with more columns.
pub fn print_with(more: &[&str], rows: &[Measured], cells: impl Fn(&Measured) -> Vec<String>) {
    let mut head = vec![
        "server: call",
        "calls/s",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "server CPU µs/call",
        "Redis CPU µs/call",
        "memory MB",
    ];
    head.extend(more);
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        let redis: Option<Vec<f64>> = row.slices.iter().map(|slice| slice.redis).collect();
        let memory = row.of(|it| it.memory as f64 / 1e6).into_iter().fold(0.0, f64::max);
        let mut line = vec![
            row.name.clone(),
            spread(&row.of(|it| it.rate), 0),
            spread(&row.of(|it| it.p50), 2),
            spread(&row.of(|it| it.p99), 2),
            spread(&row.of(|it| it.p999), 1),
            spread(&row.of(|it| it.server), 1),
            redis.map(|it| spread(&it, 1)).unwrap_or_default(),
            format!("{memory:.1}"),
        ];
        line.extend(cells(row));
        println!("| {} |", line.join(" | "));
    }
    for row in rows.iter().filter(|row| !row.is_as_expected()) {
        let unexpected: u64 = row.slices.iter().map(|slice| slice.unexpected).sum();
        let example = row.slices.iter().find_map(|slice| slice.example.as_deref());
        println!(
            "\n{}: {unexpected} UNEXPECTED answers, {}",
            row.name,
            example.unwrap_or_default()
        );
    }
}

/// Prints how rows compare with their floors.
pub fn print_budgets(budgets: &[Budget<'_>]) {
    println!(
        "| what | floor | at most | CPU, floor on 1 thread | CPU, floor on 2 threads | calls/s, floor on 1 thread | calls/s, floor on 2 threads | within |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for Budget { row, kind, floors, factor, rate_too } in budgets {
        let cpu = floors.map(|floor| ratios(row, floor, |it| it.server));
        let rate = floors.map(|floor| ratios(floor, row, |it| it.rate));
        let holds =
            |at: usize| median(&cpu[at]) <= *factor && (!rate_too || median(&rate[at]) <= *factor);
        let within = match (holds(0), holds(1)) {
            (true, true) => "yes",
            (false, true) => "on 2 threads",
            (true, false) => "on 1 thread",
            (false, false) => "no",
        };
        println!(
            "| {} | {kind} | {factor:.2} | {} | {} | {} | {} | {within} |",
            row.name,
            spread(&cpu[0], 2),
            spread(&cpu[1], 2),
            spread(&rate[0], 2),
            spread(&rate[1], 2),
        );
    }
    println!(
        "\nA ratio of calls/s is the floor's over Twinlock's, so that less is better everywhere."
    );
}

/// The median, with the least and the greatest.
pub fn spread(numbers: &[f64], digits: usize) -> String {
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.digits$} [{least:.digits$}..{greatest:.digits$}]", median(numbers))
}

/// The ratio of one row to another in each round.
pub fn ratios(above: &Measured, below: &Measured, number: impl Fn(&Slice) -> f64) -> Vec<f64> {
    let rounds = above.slices.iter().zip(&below.slices);
    rounds.map(|(above, below)| number(above) / number(below)).collect()
}

/// The median.
pub fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_between_the_least_and_the_greatest() {
        assert_eq!(spread(&[3.0, 1.0, 2.0], 1), "2.0 [1.0..3.0]");
        assert_eq!(spread(&[9.0, 9.5, 1.25, 9.25, 100.0], 2), "9.25 [1.25..100.00]");
    }
}
