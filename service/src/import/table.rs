//! CSV (RFC 4180), record by record.

use csv::{ReaderBuilder, StringRecord};

use super::{Skipped, Unreadable};

/// The columns of a text's first line, to tell what it is.
pub(super) fn header(text: &str) -> Vec<String> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    reader.headers().map(|header| header.iter().map(column).collect()).unwrap_or_default()
}

/// A CSV file with its columns named in the first line.
pub(super) struct Table {
    columns: Vec<String>,
    records: Vec<Record>,
}

/// One record, and the line that it begins in.
pub(super) struct Record {
    pub(super) line: usize,
    fields: StringRecord,
}

impl Table {
    pub(super) fn read(text: &str) -> Self {
        let mut records = records(text).into_iter();
        let columns = records.next().map(|first| first.fields.iter().map(column).collect());
        Self { columns: columns.unwrap_or_default(), records: records.collect() }
    }

    /// Which column has one of these names, the first of which is the usual one.
    pub(super) fn column(&self, names: &[&'static str]) -> Result<usize, Unreadable> {
        let found = self.columns.iter().position(|column| names.contains(&column.as_str()));
        found.ok_or(Unreadable::NoColumn(names.first().copied().unwrap_or_default()))
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }
}

impl Record {
    /// A field, where the record has it and it is not empty.
    pub(super) fn field(&self, column: usize) -> Option<&str> {
        self.fields.get(column).filter(|field| !field.is_empty())
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// A quote that is not closed takes all lines up to the next one into its field: better to say so than
    /// to lose them without a word.
    pub(super) fn check(&self) -> Result<(), Skipped> {
        let goes_on = self.fields.iter().any(|field| field.contains('\n'));
        if goes_on { Err(Skipped::OpenQuote) } else { Ok(()) }
    }
}

/// Every record, blank lines passed over.
pub(super) fn records(text: &str) -> Vec<Record> {
    let reader =
        ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let (mut line, mut counted) = (1, 0);
    // With UTF-8 in memory and records of any length, there is nothing left to fail.
    let records = reader.into_records().map_while(Result::ok).map(|fields| {
        let position = fields.position().map_or(0, csv::Position::byte);
        let rest = usize::try_from(position).ok().and_then(|position| text.get(position..));
        // The reader passes over line ends before a record only while it reads the record.
        let begin = text.len() - rest.map_or(0, |rest| rest.trim_start_matches(['\r', '\n']).len());
        let passed = text.get(counted..begin).unwrap_or_default();
        line += passed.bytes().filter(|byte| *byte == b'\n').count();
        counted = counted.max(begin);
        Record { line, fields }
    });
    records.collect()
}

fn column(name: &str) -> String {
    name.trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_an_editor_shows() {
        for end in ["\n", "\r\n"] {
            let lines = ["a,b", "1,2", "", "", "3,\"4", "5\"", "6"];
            let found = records(&lines.join(end));
            assert_eq!(found.iter().map(|record| record.line).collect::<Vec<_>>(), [1, 2, 5, 7]);
            assert_eq!(found[2].check(), Err(Skipped::OpenQuote));
            assert_eq!(found[3].field(0), Some("6"));
            assert_eq!(found[3].field(1), None);
        }
    }
}
