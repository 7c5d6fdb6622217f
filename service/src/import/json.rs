//! JSON, part by part, so that each part keeps its line and one bad part does not spoil the others.

use std::collections::HashMap;
use std::fmt;

use serde::de::{self, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{Skipped, Unreadable};

/// The values of a text, one after the other, with the parts of a list in place of the list. So lists, lines
/// of objects and several answers in one file are all the same.
pub(super) fn values(text: &str) -> Result<Vec<&RawValue>, Unreadable> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<&RawValue>() {
        let value = value.map_err(|error| Unreadable::NotJson { line: error.line() })?;
        match value.get().starts_with('[') {
            true => values.extend(parts(value).or(Err(Unreadable::NotJson { line: 1 }))?),
            false => values.push(value),
        }
    }
    Ok(values)
}

/// The parts of a list.
pub(super) fn parts(list: &RawValue) -> Result<Vec<&RawValue>, Skipped> {
    object(list)
}

/// Reads one part. The fields that it does not know are passed over.
pub(super) fn object<'a, T: Deserialize<'a>>(part: &'a RawValue) -> Result<T, Skipped> {
    text(part.get())
}

/// Reads a part that is the text of JSON.
pub(super) fn text<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Skipped> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // The error's own words quote what they found. The path has only the names of fields that are known.
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        match error.path().to_string() {
            _ if !error.inner().is_data() => Skipped::NotJson,
            path if path == "." => Skipped::WrongForm,
            path => Skipped::WrongType(path),
        }
    })
}

/// The names of the first object's fields, to tell what it is; none where it is no object.
pub(super) fn fields(text: &str) -> Result<Vec<String>, Unreadable> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    let first = values.next().transpose();
    let first = first.map_err(|error| Unreadable::NotJson { line: error.line() })?;
    let first = match first {
        Some(list) if list.get().starts_with('[') => {
            parts(list).unwrap_or_default().first().copied()
        }
        first => first,
    };
    let fields = first.and_then(|first| object::<HashMap<String, IgnoredAny>>(first).ok());
    Ok(fields.unwrap_or_default().into_keys().collect())
}

/// Which line each part of a text begins in. Parts are asked for in their order.
pub(super) struct Lines<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, offset: 0, line: 1 }
    }

    pub(super) fn line(&mut self, part: &RawValue) -> Option<usize> {
        // A part borrows from the text, so the distance of their addresses is where it begins.
        let offset = part.get().as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        let passed = self.text.as_bytes().get(self.offset..offset)?;
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.offset = offset;
        Some(self.line)
    }
}

/// A value that systems write as a number, a text or a truth value, as a text. A list of one is its part,
/// as in Django's natural keys.
pub(super) struct Scalar(Zeroizing<String>);

impl Scalar {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn number(&self, field: &'static str) -> Result<u64, Skipped> {
        number(&self.0, field)
    }
}

/// A number as digits and nothing else.
pub(super) fn number(text: &str, field: &'static str) -> Result<u64, Skipped> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(Skipped::NotANumber(field))
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text, a number or a truth value")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar(Zeroizing::new(value.to_string())))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar(Zeroizing::new(value.to_string())))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar(Zeroizing::new(value.to_string())))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Scalar, E> {
                Ok(Scalar(Zeroizing::new(value.to_string())))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar(Zeroizing::new(value.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
                let one: String = list.next_element()?.ok_or_else(|| de::Error::custom("empty"))?;
                match list.next_element::<IgnoredAny>()? {
                    None => Ok(Scalar(Zeroizing::new(one))),
                    Some(_) => Err(de::Error::custom("more than one")),
                }
            }
        }

        deserializer.deserialize_any(Any)
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }
}
