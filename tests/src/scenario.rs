//! Whole lives of users, written once as files and run through every interface.
//!
//! The format is documented in `tests/README.md`; it belongs to no language.

mod api;
mod cli;
mod file;
mod grpc;
mod hosts;
mod program;
mod reasons;
mod rest;
mod results;
mod run;
mod value;

pub use api::methods;
pub use cli::Cli;
pub use grpc::Grpc;
pub use hosts::Hosts;
pub use program::{Go, Java, Program};
pub use reasons::{Expected, Reasons};
pub use rest::Rest;
pub use results::record;
pub use run::{Life, Reach, Refusal, Runner};

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The life of a user: steps, and what is expected of each.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name without its extension.
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// The server's configuration file.
    pub settings: String,
    /// The steps, with those of included files in their places.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it stands, for messages: "backoff.toml, step 3".
    pub place: String,
    /// What is done.
    pub action: Action,
}

/// What is done in a step.
#[derive(Clone, Debug)]
pub enum Action {
    /// Time passes.
    Wait(Wait),
    /// The server is killed and starts again on the same data.
    Restart,
    /// Variables are set to values.
    Let(BTreeMap<String, Value>),
    /// The interface is called.
    Call(Call),
}

/// How long time passes.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// So long.
    For(Duration),
    /// As long as the last refusal said.
    RetryAfter,
}

/// Calls of one method.
#[derive(Clone, Debug)]
pub struct Call {
    /// The method's name in the API.
    pub method: String,
    /// The bearer token of the caller.
    pub token: Option<String>,
    /// The fields of the request, by their proto JSON names.
    pub request: Map<String, Value>,
    /// How many calls there are.
    pub count: usize,
    /// Whether they are made at the same time.
    pub parallel: bool,
    /// What is expected; every call must end as one of these says, and as many as it says.
    pub outcomes: Vec<Outcome>,
    /// The variables to set from the answer, each with the path of its field.
    pub save: BTreeMap<String, String>,
}

/// How many calls are expected to end how.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many.
    pub count: usize,
    /// How.
    pub end: End,
}

/// How a call is expected to end.
#[derive(Clone, Debug)]
pub enum End {
    /// With an answer that has these fields.
    Answer(Map<String, Value>),
    /// With a refusal.
    Refused {
        /// Its reason.
        reason: String,
        /// The field that it names.
        field: Option<String>,
        /// How long it says to wait, at least and at most.
        retry_after: (Duration, Duration),
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(fields) => write!(f, "OK {}", Value::Object(fields.clone())),
            Self::Refused { reason, field, retry_after: (least, most) } => {
                write!(f, "{reason}")?;
                if let Some(field) = field {
                    write!(f, " of {field}")?;
                }
                if *most != Duration::MAX || !least.is_zero() {
                    write!(f, " with a wait of {least:?} to {most:?}")?;
                }
                Ok(())
            }
        }
    }
}

impl Scenario {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let scenario = file::read(path)?;
        api::check(&scenario)?;
        Ok(scenario)
    }

    /// All scenario files, in the order of their names.
    pub fn files() -> Result<Vec<PathBuf>> {
        let directory = directory();
        let entries = directory.read_dir().with_context(|| directory.display().to_string())?;
        let mut files = BTreeSet::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.insert(path);
            }
        }
        anyhow::ensure!(!files.is_empty(), "{} has no scenarios", directory.display());
        Ok(files.into_iter().collect())
    }

    /// Whether it needs a server of its own.
    pub fn restarts(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Restart))
    }

    /// The calls that it makes.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.steps.iter().filter_map(|step| match &step.action {
            Action::Call(call) => Some(call),
            _ => None,
        })
    }
}

/// Where the scenario files are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")
}
