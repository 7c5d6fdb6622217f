//! The two scripts, as commands, and what they answer.
//!
//! Every access is one of them. An ordinary change is two round trips: the load, since nothing can be
//! decided without the record, and the swap, since only the server can tell whether the record is still
//! the one that was decided on. A change that soon follows a load, such as that of a code after its login was
//! evaluated, is the swap alone ([`crate::store::recent`]). A refusal that changes nothing, such as one within a
//! block, is the load alone.

use super::keys::{self, Bucket};
use crate::store::recent::LATEST;
use crate::store::{Loaded, RecordKey, StoreError, Swap, Version, dataset_name};
use aws_lc_rs::digest;
use redis::{Arg, Cmd, RedisWrite, Value, cmd};
use std::io::Write;
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

const BY_NAME: &str = "EVALSHA";

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
    /// The command that runs a script that the server has.
    pub(super) by_name: Cmd,
}

impl Run {
    /// Reads a record.
    pub(super) fn load(key: &RecordKey) -> Self {
        Self::begin(&LOAD, key, 0, 0)
    }

    /// Replaces a record.
    pub(super) fn swap(swap: Swap, marker: &[u8]) -> Self {
        let bytes = swap.bytes.as_deref();
        // The others are versions or a dataset's name, and times.
        let mut run = Self::begin(&SWAP, &swap.key, 5, bytes.map_or(0, <[u8]>::len) + 80);
        let arguments = &mut run.by_name;
        arguments.arg(swap.expected.as_ref().map_or(&[][..], |version| &version.0));
        {
            let mut value = arguments.writer_for_next_arg();
            for part in bytes.iter().flat_map(|bytes| [&swap.version.0[..], bytes]) {
                value.write_all(part).expect("memory takes all");
            }
        }
        match swap.expire_at {
            // Redis takes no expiry of 0, the epoch itself.
            Some(at) => arguments.arg(at.as_millis().max(1)),
            None => arguments.arg(b""),
        };
        if swap.expected.is_none() {
            arguments.arg(dataset_name(marker));
        } else if let Some(at) = swap.decided_at {
            arguments.arg(at.as_millis()).arg(LATEST.as_millis() as u64);
        }
        run
    }

    /// The keys, and room for so many arguments of so many bytes in all.
    fn begin(script: &'static Script, key: &RecordKey, arguments: usize, bytes: usize) -> Self {
        let (record, bucket) = keys::record(key);
        let marker = bucket.marker();
        let size = BY_NAME.len() + script.name.len() + 1 + record.len() + marker.len() + bytes;
        let mut by_name = Cmd::with_capacity(5 + arguments, size);
        by_name.arg(BY_NAME).arg(&script.name).arg(2).arg(record).arg(marker);
        Self { script, bucket, by_name }
    }

    /// Whether it only reads, and may be repeated whatever became of it.
    pub(super) fn changes_nothing(&self) -> bool {
        std::ptr::eq(self.script, &*LOAD)
    }

    /// The command that gives the server the script, too.
    pub(super) fn in_full(&self) -> Cmd {
        let mut command = cmd("EVAL");
        command.arg(self.script.source);
        for argument in self.by_name.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        command
    }
}

/// What a load answered.
pub(super) fn loaded(answer: Value, marker: &[u8]) -> Result<Loaded, StoreError> {
    match answer {
        Value::BulkString(found) => present(found).ok_or_else(strange),
        Value::Array(parts) => absent(&parts, marker),
        _ => Err(strange()),
    }
}

/// A record behind the time at which it was read.
fn present(mut found: Vec<u8>) -> Option<Loaded> {
    let mut parts = found.splitn(3, |byte| *byte == b' ');
    let now = time(parts.next()?, parts.next()?)?;
    let value = parts.next()?;
    let version = version(value)?;
    let record = record(value).len();
    found.drain(..found.len() - record);
    Some(Loaded { record: Some((version, found)), now })
}

/// The time at which there was no record, and the marker that vouches for it.
fn absent(parts: &[Value], marker: &[u8]) -> Result<Loaded, StoreError> {
    let [Value::Array(now), found] = parts else { return Err(strange()) };
    let [Value::BulkString(seconds), Value::BulkString(micros)] = now.as_slice() else {
        return Err(strange());
    };
    let now = time(seconds, micros).ok_or_else(strange)?;
    match found {
        Value::BulkString(found) if dataset_name(found) == dataset_name(marker) => {
            Ok(Loaded { record: None, now })
        }
        Value::BulkString(_) => Err(foreign()),
        Value::Nil => Err(emptied()),
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
fn time(seconds: &[u8], micros: &[u8]) -> Option<Timestamp> {
    let number = |digits| str::from_utf8(digits).ok()?.parse::<u64>().ok();
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
        let answer = |marker| loaded(Value::Array(vec![at(), marker]), b"ours");
        let found = answer(bulk(b"ours")).expect("a load");
        assert!(found.record.is_none());
        assert_eq!(found.now, Timestamp::from_millis(1_700_000_000_123));
        for marker in [Value::Nil, bulk(b""), bulk(b"theirs"), bulk(b"ours!")] {
            assert!(matches!(answer(marker), Err(StoreError::Incomplete(_))));
        }
        for strange in [Value::Okay, Value::Int(1), at()] {
            assert!(matches!(answer(strange), Err(StoreError::Unavailable { .. })));
        }
    }

    #[test]
    fn a_value_that_is_none_of_ours_is_an_error() {
        let answer = |found: &[u8]| loaded(bulk(found), b"ours");
        let found = answer(b"1700000000 123456 0123456789abcdefa record").expect("a load");
        assert_eq!(found.record, Some((Version(*b"0123456789abcdef"), b"a record".to_vec())));
        assert_eq!(found.now, Timestamp::from_millis(1_700_000_000_123));
        for strange in [
            &b"1700000000 123456 short"[..],
            b"1700000000 123456 ",
            b"1700000000 123456",
            b"1700000000 -1 0123456789abcdefa record",
            b" 123456 0123456789abcdefa record",
            b"",
        ] {
            assert!(matches!(answer(strange), Err(StoreError::Unavailable { .. })));
        }
        for strange in [Value::Nil, Value::Okay, Value::Int(1), Value::Array(vec![at()])] {
            assert!(matches!(loaded(strange, b"ours"), Err(StoreError::Unavailable { .. })));
        }
    }
}
