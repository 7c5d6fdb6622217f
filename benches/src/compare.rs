//! Every call in turns with the floors: only what was measured within the same moments can be compared on a
//! machine that others use, too.

use crate::field::{self, Callers, EMBEDDED, Field, OVER_REDIS, RUNTIMES};
use crate::floor::{CURRENT_THREAD, NOTHING, ONE_SCRIPT, REDB, TWO_SCRIPTS};
use crate::table::{self, Budget, Measured};
use crate::work::Work;
use anyhow::Result;
use std::time::Duration;

/// How long it all takes.
#[derive(Clone, Copy, Debug)]
pub struct Length {
    /// One turn of many callers.
    many: Duration,
    /// One turn of one caller.
    one: Duration,
    /// How many rounds of turns there are.
    rounds: usize,
    /// How many users can verify, and of how many more is kept.
    users: usize,
    /// How often a server is started to see what that takes.
    pub starts: usize,
}

impl Length {
    /// Under 10 minutes.
    pub const FULL: Self = Self {
        many: Duration::from_millis(1_500),
        one: Duration::from_millis(800),
        rounds: 9,
        users: 300_000,
        starts: 7,
    };
    /// Under 2.
    pub const QUICK: Self = Self {
        many: Duration::from_millis(200),
        one: Duration::from_millis(60),
        rounds: 7,
        users: 100_000,
        starts: 3,
    };
}

/// After how many rounds all servers are started anew. Where its memory happens to lie makes a process a few
/// percent faster or slower for as long as it lives.
const LIFE: usize = 3;
/// So much shorter is a turn that does not count, of a server that has just started: memory, files and branch
/// predictors still warm up.
const WARMING_UP: u32 = 3;

/// One line of the table.
struct Row {
    server: String,
    what: &'static str,
    work: Work,
    /// Whether it is measured with one caller, too.
    alone: bool,
    held_to: Option<HeldTo>,
}

/// What is allowed.
#[derive(Clone, Copy)]
struct HeldTo {
    floor: &'static str,
    factor: f64,
    rate_too: bool,
}

/// Measures the rows whose names contain a text, and prints the tables; whether all answers were the
/// expected ones.
pub async fn compare(length: Length, only: &str) -> Result<bool> {
    let mut field = Field::enter(length.users, length.users).await?;
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.name().contains(only)).collect();
    let measured = |row: &Row| Measured { name: row.name(), slices: Vec::new() };
    let mut many: Vec<_> = rows.iter().map(measured).collect();
    let mut one: Vec<_> = rows.iter().map(measured).collect();
    for round in 0..length.rounds {
        if round.is_multiple_of(LIFE) {
            if round > 0 {
                field.restart().await?;
            }
            for row in &rows {
                field.rested(&row.server).await?;
                let short = length.many / WARMING_UP;
                field.load(&row.server, row.work, Callers::MANY, short).await?;
            }
        }
        for at in turns(round, rows.len()) {
            let row = &rows[at];
            field.rested(&row.server).await?;
            let slice = field.load(&row.server, row.work, Callers::MANY, length.many).await?;
            many[at].slices.push(slice);
        }
        for at in turns(round, rows.len()).filter(|at| rows[*at].alone) {
            let row = &rows[at];
            let slice = field.load(&row.server, row.work, Callers::ONE, length.one).await?;
            one[at].slices.push(slice);
        }
        eprint!("\rround {} of {} ", round + 1, length.rounds);
    }
    eprintln!();
    one.retain(|it| !it.slices.is_empty());
    let in_flight = Callers::MANY.connections * Callers::MANY.each;
    let connections = Callers::MANY.connections;
    println!("\n{in_flight} calls in flight on {connections} connections (closed loop):\n");
    table::print(&many);
    println!("\n1 call in flight:\n");
    table::print(&one);
    println!("\nBeside the floors, {in_flight} in flight, round by round:\n");
    table::print_budgets(&budgets(&rows, &many));
    Ok(many.iter().chain(&one).all(Measured::is_as_expected))
}

/// Whose turn it is, one after the other. Every second round goes backwards: who comes after a rest pays for it.
fn turns(round: usize, rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).map(move |at| if round.is_multiple_of(2) { at } else { rows - 1 - at })
}

fn budgets<'a>(rows: &[Row], measured: &'a [Measured]) -> Vec<Budget<'a>> {
    let held = rows.iter().zip(measured).filter_map(|(row, it)| Some((row.held_to?, it)));
    held.filter_map(|(HeldTo { floor, factor, rate_too }, row)| {
        let [one, two] = RUNTIMES.map(|runtime| {
            let name = field::floor(floor, runtime);
            measured.iter().find(|it| it.name == name)
        });
        Some(Budget { row, kind: floor, floors: [one?, two?], factor, rate_too })
    })
    .collect()
}

impl Row {
    fn name(&self) -> String {
        match self.what {
            "" => self.server.clone(),
            what => format!("{}: {what}", self.server),
        }
    }
}

fn rows() -> Vec<Row> {
    let floor = |kind: &str, runtime: &str| Row {
        server: field::floor(kind, runtime),
        what: "",
        work: Work::Floor,
        alone: true,
        held_to: None,
    };
    let mut rows = Vec::new();
    for runtime in RUNTIMES {
        rows.extend([NOTHING, ONE_SCRIPT, TWO_SCRIPTS].map(|kind| floor(kind, runtime)));
        if runtime == CURRENT_THREAD {
            // Between those that they are held against.
            rows.extend(twinlock(OVER_REDIS));
            rows.extend(twinlock(EMBEDDED));
        }
        rows.push(floor(REDB, runtime));
    }
    rows
}

fn twinlock(server: &str) -> Vec<Row> {
    let row = |what, work, held_to| {
        let alone = matches!(work, Work::Verify | Work::EvaluateLogin);
        Row { server: server.into(), what, work, alone, held_to }
    };
    let (reads, writes) = if server == OVER_REDIS {
        let reads = HeldTo { floor: ONE_SCRIPT, factor: 1.2, rate_too: false };
        (Some(reads), HeldTo { floor: TWO_SCRIPTS, factor: 1.25, rate_too: false })
    } else {
        (None, HeldTo { floor: REDB, factor: 1.25, rate_too: true })
    };
    vec![
        row("Verify, right code", Work::Verify, Some(writes)),
        // Of its two calls each needs to ask Redis once.
        row("login", Work::Login, reads),
        row("Verify, wrong code", Work::Refused, None),
        row("Verify, blocked", Work::Blocked, reads),
        row("CheckElevation", Work::CheckElevation, reads),
        row("EvaluateLogin", Work::EvaluateLogin, reads),
        row("Elevate, right code", Work::Elevate, None),
        row("a day", Work::Day, None),
    ]
}
