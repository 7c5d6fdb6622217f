//! The two scripts, as commands, and what they answer.
//!
//! Every access is one of them. An ordinary change is two round trips: the load, since nothing can be
//! decided without the record, and the swap, since only the server can tell whether the record is still
//! the one that was decided on. A refusal that changes nothing, such as one within a block, is the load
//! alone.

use super::keys::{self, Bucket};
use crate::store::{Loaded, RecordKey, StoreError, Swap, Version, dataset_name};
use aws_lc_rs::digest;
use redis::{Cmd, Value};
use std::sync::LazyLock;
use twinlock_core::Timestamp;

/// A script and the name by which the server knows it.
pub(super) struct Script {
    source: &'static str,
    /// SHA-1 in hexadecimal: Redis's name for a script, no protection of anything.
    name: String,
}

static LOAD: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/load.lua")));
static SWAP: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("scripts/swap.lua")));

const VERSION: usize = 16;

impl Script {
    fn new(source: &'static str) -> Self {
        let name = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, source.as_bytes());
        Self { source, name: data_encoding::HEXLOWER.encode(name.as_ref()) }
    }
}

/// One run of a script on the keys of one user.
pub(super) struct Run {
    script: &'static Script,
    pub(super) bucket: Bucket,
    keys: [String; 2],
    arguments: Vec<Vec<u8>>,
}

impl Run {
    /// Reads a record.
    pub(super) fn load(key: &RecordKey) -> Self {
        Self::new(&LOAD, key, Vec::new())
    }

    /// Replaces a record.
    pub(super) fn swap(swap: Swap, marker: &[u8]) -> Self {
        let version = swap.expected.map(|version| version.0.to_vec()).unwrap_or_default();
        let value = swap.bytes.map(|bytes| [&swap.version.0, bytes.as_slice()].concat());
        // Redis takes no expiry of 0, the epoch itself.
        let expiry = swap.expire_at.map(|at| at.as_millis().max(1).to_string().into_bytes());
        let mut arguments = vec![version, value.unwrap_or_default(), expiry.unwrap_or_default()];
        if swap.expected.is_none() {
            arguments.push(dataset_name(marker).to_vec());
        }
        Self::new(&SWAP, &swap.key, arguments)
    }

    fn new(script: &'static Script, key: &RecordKey, arguments: Vec<Vec<u8>>) -> Self {
        let bucket = Bucket::of(key);
        Self { script, bucket, keys: [keys::record(key), bucket.marker()], arguments }
    }

    /// Whether it only reads, and may be repeated whatever became of it.
    pub(super) fn changes_nothing(&self) -> bool {
        std::ptr::eq(self.script, &*LOAD)
    }

    /// The command that runs a script that the server has.
    pub(super) fn by_name(&self) -> Cmd {
        self.command("EVALSHA", &self.script.name)
    }

    /// The command that gives the server the script, too.
    pub(super) fn in_full(&self) -> Cmd {
        self.command("EVAL", self.script.source)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let lengths = self.keys.iter().map(String::len).chain(self.arguments.iter().map(Vec::len));
        let size = name.len() + script.len() + 1 + lengths.sum::<usize>();
        let mut command = Cmd::with_capacity(5 + self.arguments.len(), size);
        command.arg(name).arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for argument in &self.arguments {
            command.arg(argument);
        }
        command
    }
}

/// What a load answered.
pub(super) fn loaded(answer: Value, marker: &[u8]) -> Result<Loaded, StoreError> {
    let Value::Array(parts) = answer else { return Err(strange()) };
    let mut parts = parts.into_iter();
    let now = time(parts.next()).ok_or_else(strange)?;
    match parts.next() {
        Some(Value::BulkString(mut value)) => {
            let version = version(&value).ok_or_else(strange)?;
            value.drain(..VERSION);
            Ok(Loaded { record: Some((version, value)), now })
        }
        Some(Value::Nil) => match parts.next() {
            Some(Value::BulkString(found)) if dataset_name(&found) == dataset_name(marker) => {
                Ok(Loaded { record: None, now })
            }
            Some(Value::BulkString(_)) => Err(foreign()),
            _ => Err(emptied()),
        },
        _ => Err(strange()),
    }
}

/// How a swap ended, by the server's word.
pub(super) enum Verdict {
    Done,
    Changed,
    NoMarker,
}

pub(super) fn verdict(answer: &Value) -> Option<Verdict> {
    match answer {
        Value::Int(1) => Some(Verdict::Done),
        Value::Int(0) => Some(Verdict::Changed),
        Value::Int(-1) => Some(Verdict::NoMarker),
        _ => None,
    }
}

/// The version at the front of a value.
pub(super) fn version(value: &[u8]) -> Option<Version> {
    value.first_chunk::<VERSION>().copied().map(Version)
}

/// The record behind the version.
pub(super) fn record(value: &[u8]) -> &[u8] {
    value.get(VERSION..).unwrap_or_default()
}

/// No record, and no marker that would say that there is none.
pub(super) fn emptied() -> StoreError {
    StoreError::Incomplete("there is neither a record nor the marker of its bucket".into())
}

fn foreign() -> StoreError {
    StoreError::Incomplete("the marker of a bucket is another dataset's".into())
}

fn strange() -> StoreError {
    super::unavailable("what is under a key is none of Twinlock's values".into(), false)
}

/// Reads the answer of `TIME`: seconds and microseconds.
fn time(answer: Option<Value>) -> Option<Timestamp> {
    let Some(Value::Array(parts)) = answer else { return None };
    let number = |value: &Value| match value {
        Value::BulkString(digits) => str::from_utf8(digits).ok()?.parse::<u64>().ok(),
        _ => None,
    };
    let [seconds, micros] = parts.as_slice() else { return None };
    let millis = number(seconds)?.checked_mul(1000)?.checked_add(number(micros)? / 1000)?;
    Some(Timestamp::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    fn at() -> Value {
        Value::Array(vec![bulk(b"1700000000"), bulk(b"123456")])
    }

    #[test]
    fn an_absence_is_believed_beside_the_marker_alone() {
        let answer = |marker| loaded(Value::Array(vec![at(), Value::Nil, marker]), b"ours");
        let found = answer(bulk(b"ours")).expect("a load");
        assert!(found.record.is_none());
        assert_eq!(found.now, Timestamp::from_millis(1_700_000_000_123));
        for marker in [Value::Nil, bulk(b""), bulk(b"theirs"), bulk(b"ours!")] {
            assert!(matches!(answer(marker), Err(StoreError::Incomplete(_))));
        }
    }

    #[test]
    fn a_value_that_is_none_of_ours_is_an_error() {
        let answer = |value| loaded(Value::Array(vec![at(), value]), b"ours");
        let found = answer(bulk(b"0123456789abcdefrest")).expect("a load");
        assert_eq!(found.record, Some((Version(*b"0123456789abcdef"), b"rest".to_vec())));
        for strange in [bulk(b"short"), bulk(b""), Value::Okay, Value::Int(1)] {
            assert!(matches!(answer(strange), Err(StoreError::Unavailable { .. })));
        }
        assert!(loaded(Value::Nil, b"ours").is_err());
        assert!(loaded(Value::Array(vec![Value::Nil, bulk(b"")]), b"ours").is_err());
    }
}
