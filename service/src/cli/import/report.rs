//! What became of each entry of a file, and of all of it.

use serde_json::{Value, json};

use crate::cli::{Console, Failure};
use crate::import::{Entry, Format};

/// What became of one entry.
pub(super) enum Outcome {
    /// It is for the server, which was not asked.
    NotTried,
    /// The server has it.
    Imported,
    /// The server has it, and the recovery key that it made is known to nobody.
    KeyLost,
    /// The user had an authenticator before, which was left alone.
    AlreadyEnrolled,
    /// The server says that it can never take it.
    Refused(String),
    /// The server could not take it, or did not say whether it did.
    Failed(String),
    /// It was not for the server at all.
    Skipped(String),
}

/// The outcomes of all entries.
pub(super) struct Report<'a> {
    format: Format,
    dry_run: bool,
    entries: &'a [Entry],
    outcomes: Vec<Outcome>,
    stopped: Option<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(format: Format, dry_run: bool, entries: &'a [Entry]) -> Self {
        let outcomes = entries.iter().map(|entry| match &entry.taken {
            Ok(_) => Outcome::NotTried,
            Err(skipped) => Outcome::Skipped(skipped.to_string()),
        });
        Self { format, dry_run, entries, outcomes: outcomes.collect(), stopped: None }
    }

    /// How many entries the server is still to be asked about.
    pub(super) fn left(&self) -> usize {
        self.count("not_tried")
    }

    pub(super) fn set(&mut self, index: usize, outcome: Outcome) {
        if let Some(place) = self.outcomes.get_mut(index) {
            *place = outcome;
        }
    }

    /// Says why not all was tried; the first reason stays.
    pub(super) fn stop(&mut self, why: String) {
        self.stopped.get_or_insert(why);
    }

    /// 0 where all was imported, or would be; 1 where something was not; 3 where the server failed, or
    /// the import was stopped otherwise.
    pub(super) fn exit_status(&self) -> u8 {
        if self.stopped.is_some() || self.count("failed") > 0 {
            3
        } else {
            u8::from(self.count("skipped") + self.count("already_enrolled") > 0)
        }
    }

    pub(super) fn print(&self, console: &Console) -> Result<(), Failure> {
        for (entry, outcome) in self.entries.iter().zip(&self.outcomes) {
            console.emit(&self.object(entry, outcome))?;
            if let Some(line) = self.line(entry, outcome) {
                console.say(&line)?;
            }
        }
        let count = |name| self.count(name);
        let format = self.format;
        if self.dry_run {
            let (taken, skipped) = (count("not_tried"), count("skipped"));
            console.emit(&json!({ "summary": {
                "format": format.to_string(),
                "dry_run": true,
                "would_be_imported": taken,
                "skipped": skipped,
            } }))?;
            return console.say(&format!(
                "Read as {format}: {taken} would be imported, {skipped} skipped. Nothing was sent."
            ));
        }
        let (imported, enrolled) = (count("imported"), count("already_enrolled"));
        let (skipped, failed, left) = (count("skipped"), count("failed"), count("not_tried"));
        let mut summary = json!({
            "format": format.to_string(),
            "dry_run": false,
            "imported": imported,
            "already_enrolled": enrolled,
            "skipped": skipped,
            "failed": failed,
            "not_tried": left,
        });
        if let Some(why) = &self.stopped {
            summary["stopped"] = why.as_str().into();
        }
        console.emit(&json!({ "summary": summary }))?;
        console.say(&format!(
            "Read as {format}: {imported} imported, {enrolled} enrolled already, {skipped} skipped, \
             {failed} failed, {left} not tried."
        ))?;
        match &self.stopped {
            Some(why) => console.say(&format!(
                "Stopped: {why} Run the same command again: whoever is imported already is left alone."
            )),
            None => Ok(()),
        }
    }

    fn count(&self, name: &str) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.name() == name).count()
    }

    fn object(&self, entry: &Entry, outcome: &Outcome) -> Value {
        let name = match outcome {
            Outcome::NotTried if self.dry_run => "would_be_imported",
            outcome => outcome.name(),
        };
        let mut object = json!({ "entry": entry.place.entry, "outcome": name });
        if let Some(line) = entry.place.line {
            object["line"] = line.into();
        }
        if let Some(called) = &entry.called {
            object["user_id"] = called.as_str().into();
        }
        if let Some(why) = outcome.why() {
            object["why"] = why.into();
        }
        if let Some(remark) = remark(entry) {
            object["remark"] = remark.into();
        }
        object
    }

    /// The line for people, who want to read of nothing that went well.
    fn line(&self, entry: &Entry, outcome: &Outcome) -> Option<String> {
        let what = match (outcome, remark(entry)) {
            (Outcome::NotTried, None) | (Outcome::Imported, None) => return None,
            (Outcome::NotTried, Some(remark)) if self.dry_run => {
                format!("would be imported; {remark}")
            }
            (Outcome::NotTried, Some(_)) => return None,
            (Outcome::Imported, Some(remark)) => format!("imported; {remark}"),
            (Outcome::AlreadyEnrolled, _) => "enrolled already, left alone".into(),
            (Outcome::Failed(why), _) if self.stopped.as_ref() == Some(why) => {
                "failed, for the reason at the end".into()
            }
            (outcome, _) => format!("{}: {}", outcome.name(), outcome.why().unwrap_or_default()),
        };
        let called = entry.called.as_ref().map_or_else(String::new, |called| format!(", {called}"));
        Some(format!("{}{called}: {}.", entry.place, what.trim_end_matches('.')))
    }
}

impl Outcome {
    fn name(&self) -> &'static str {
        match self {
            Self::NotTried => "not_tried",
            Self::Imported | Self::KeyLost => "imported",
            Self::AlreadyEnrolled => "already_enrolled",
            Self::Refused(_) | Self::Skipped(_) => "skipped",
            Self::Failed(_) => "failed",
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Self::Refused(why) | Self::Failed(why) | Self::Skipped(why) => Some(why),
            Self::KeyLost => {
                Some("the recovery key could not be written; the user can have a new one")
            }
            Self::NotTried | Self::Imported | Self::AlreadyEnrolled => None,
        }
    }
}

fn remark(entry: &Entry) -> Option<&str> {
    entry.taken.as_ref().ok()?.1.remark.as_deref()
}
