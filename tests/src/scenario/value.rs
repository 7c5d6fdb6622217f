//! Values of a scenario: variables, what an authenticator shows, and how an answer is compared.

use crate::now;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::time::Duration;
use twinlock_core::Timestamp;
use twinlock_core::otpauth::OtpauthUri;
use twinlock_core::totp::{self, Step};

/// A code must not lapse on its way to the server: what is left of a step at least where that matters.
const MARGIN: Duration = Duration::from_secs(4);
/// How far a time may be from what is expected.
const TIME_TOLERANCE: Duration = Duration::from_secs(5);

/// A table that stands for a value. Its first key has an underscore, which no field of the API has.
pub struct Special;

impl Special {
    /// Those that a request may hold.
    pub const IN_REQUESTS: &[&str] = &["code_of", "wrong_code_of", "retyped_key", "padded_text"];
    /// Those that an expectation may hold.
    pub const IN_ANSWERS: &[&str] = &["is_set", "is_not", "seconds_from_now"];

    /// Which one a table is; `None` where it is an ordinary message.
    pub fn name(table: &Map<String, Value>) -> Option<&str> {
        table.keys().find(|key| key.contains('_')).map(String::as_str)
    }
}

/// What a scenario knows: its variables, and which codes its authenticators have shown.
#[derive(Default)]
pub struct Values {
    variables: HashMap<String, String>,
    shown: HashMap<String, u64>,
    /// Codes that were resolved are good from here on.
    not_before: Option<Timestamp>,
}

impl Values {
    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.into(), value.into());
    }

    /// How long to wait before what was resolved is used.
    pub fn wait(&mut self) -> Duration {
        let wait = self.not_before.take().and_then(|time| time.since(now()));
        wait.map_or(Duration::ZERO, |wait| wait + Duration::from_millis(20))
    }

    /// The value that is meant, with all variables but `n` replaced.
    pub fn resolve(&mut self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(values) => {
                values.iter().map(|value| self.resolve(value)).collect::<Result<_>>()?
            }
            Value::Object(table) => match Special::name(table) {
                Some(_) => self.special(table)?.into(),
                None => Value::Object(self.resolve_all(table)?),
            },
            other => other.clone(),
        })
    }

    /// The same for all fields of a message.
    pub fn resolve_all(&mut self, fields: &Map<String, Value>) -> Result<Map<String, Value>> {
        let resolved = fields.iter().map(|(name, value)| Ok((name.clone(), self.resolve(value)?)));
        resolved.collect()
    }

    /// A text with all variables but `n` replaced.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, value) in &self.variables {
            text = text.replace(&format!("${{{name}}}"), value);
        }
        text
    }

    fn special(&mut self, table: &Map<String, Value>) -> Result<String> {
        let text = |name: &str| table.get(name).and_then(Value::as_str).map(|text| self.text(text));
        let number = |name: &str| table.get(name).and_then(Value::as_i64);
        let one = |key: &str| table.len() == 1 && table.contains_key(key);
        if let Some(app) = text("code_of") {
            let offset = number("offset");
            ensure!(table.len() == 1 + usize::from(offset.is_some()), "code_of: unknown keys");
            return self.code(&app, offset);
        }
        match (text("wrong_code_of"), text("retyped_key"), text("padded_text")) {
            (Some(app), ..) if one("wrong_code_of") => wrong_code(&app),
            (_, Some(key), _) if one("retyped_key") => Ok(retyped(&key)),
            (.., Some(text)) if table.len() == 2 => {
                let bytes = number("bytes").and_then(|bytes| usize::try_from(bytes).ok());
                let missing = bytes.and_then(|bytes| bytes.checked_sub(text.len()));
                Ok(text + &"x".repeat(missing.context("padded_text: bytes")?))
            }
            _ => bail!("{table:?} is no value"),
        }
    }

    /// A code of the authenticator: the earliest that it has not shown and that the server still takes,
    /// or the one that lies so many steps from now.
    fn code(&mut self, app: &str, offset: Option<i64>) -> Result<String> {
        let uri = OtpauthUri::parse(app)?;
        let period = uri.parameters.period;
        let start = |step: u64| Timestamp::from_secs(step.saturating_mul(period.as_secs().into()));
        let now = now();
        let Step(current) = period.step(now);
        let is_calm = period.until_next_step(now) >= MARGIN;
        let last = self.shown.get(app).copied();
        let (step, from) = match offset {
            Some(offset) => {
                let present = if is_calm { current } else { current + 1 };
                (present.saturating_add_signed(offset), present)
            }
            None => {
                let earliest = if is_calm { current - 1 } else { current };
                let step = last.map_or(earliest, |last| earliest.max(last + 1));
                (step, step - 1)
            }
        };
        self.not_before = self.not_before.max(Some(start(from)));
        self.shown.insert(app.into(), last.map_or(step, |last| last.max(step)));
        Ok(totp::generate(&uri.secret, &uri.parameters, Step(step)).expose().to_string())
    }
}

/// A code that the authenticator does not show anywhere near now.
fn wrong_code(app: &str) -> Result<String> {
    let uri = OtpauthUri::parse(app)?;
    let Step(current) = uri.parameters.period.step(now());
    let code = |step| totp::generate(&uri.secret, &uri.parameters, Step(step)).expose().to_string();
    let near: Vec<String> = (current - 4..=current + 4).map(code).collect();
    let digits = uri.parameters.digits.count();
    let codes = (0..).map(|number| format!("{number:0digits$}"));
    codes.into_iter().find(|code| !near.contains(code)).context("some code is wrong")
}

/// A recovery key as somebody may copy it by hand.
fn retyped(key: &str) -> String {
    key.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l")
}

/// Says where an answer is not what is expected; `None` where it is.
pub fn difference(expected: &Map<String, Value>, answer: &Value) -> Option<String> {
    expected.iter().find_map(|(name, expected)| {
        let found = answer.get(name);
        let difference = match expected {
            Value::Object(table) => match Special::name(table) {
                Some(special) => compare(special, &table[special], found),
                None => match found {
                    Some(found) => difference(table, found).map(|inner| format!(".{inner}")),
                    None => Some(" is missing".into()),
                },
            },
            _ if found == Some(expected) => None,
            _ => Some(format!(" is not {expected}")),
        };
        difference.map(|difference| format!("{name}{difference}"))
    })
}

fn compare(special: &str, expected: &Value, found: Option<&Value>) -> Option<String> {
    let is_set = found.is_some_and(|found| !found.is_null() && found != "");
    let holds = match special {
        "is_set" => expected.as_bool() == Some(is_set),
        "is_not" => is_set && found != Some(expected),
        "seconds_from_now" => is_near(expected, found).unwrap_or(false),
        _ => false,
    };
    (!holds).then(|| format!(" does not hold {special} = {expected}"))
}

fn is_near(seconds: &Value, found: Option<&Value>) -> Option<bool> {
    let time: prost_types::Timestamp = found?.as_str()?.parse().ok()?;
    let millis = time.seconds * 1000 + i64::from(time.nanos) / 1_000_000;
    let expected = i64::try_from(now().as_millis()).ok()? + seconds.as_i64()? * 1000;
    Some(u128::from(millis.abs_diff(expected)) <= TIME_TOLERANCE.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const APP: &str = "otpauth://totp/a?secret=JBSWY3DPEHPK3PXPJBSWY3DP&digits=8&period=15";

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn an_answer_is_compared_field_by_field() {
        let answer = json!({ "a": "x", "b": { "c": 1, "d": "" }, "e": "2026-01-01T00:00:00Z" });
        let differs = |expected: Value| difference(&object(expected), &answer);
        assert_eq!(differs(json!({ "a": "x", "b": { "c": 1 } })), None);
        assert_eq!(differs(json!({ "b": { "c": 2 } })), Some("b.c is not 2".into()));
        assert_eq!(differs(json!({ "f": { "c": 2 } })), Some("f is missing".into()));
        assert_eq!(differs(json!({ "b": { "d": { "is_set": false } } })), None);
        assert_eq!(differs(json!({ "z": { "is_set": false } })), None);
        assert!(differs(json!({ "a": { "is_set": false } })).is_some());
        assert!(differs(json!({ "z": { "is_set": true } })).is_some());
        assert_eq!(differs(json!({ "a": { "is_not": "y" } })), None);
        assert!(differs(json!({ "a": { "is_not": "x" } })).is_some());
        assert!(differs(json!({ "e": { "seconds_from_now": 0 } })).is_some());
        let now = json!({ "t": prost_types::Timestamp {
            seconds: now().as_secs() as i64 + 600, nanos: 0 }.to_string() });
        let expected = object(json!({ "t": { "seconds_from_now": 600 } }));
        assert_eq!(difference(&expected, &now), None);
    }

    #[test]
    fn an_authenticator_never_shows_a_code_twice() {
        let mut values = Values::default();
        values.set("app", APP);
        let code = json!({ "code_of": "${app}" });
        let codes: Vec<Value> = (0..5).map(|_| values.resolve(&code).expect("a code")).collect();
        for (index, code) in codes.iter().enumerate() {
            assert_eq!(code.as_str().map(str::len), Some(8));
            assert!(!codes[..index].contains(code));
        }
        // Five codes take at least three steps from the one before now, so the last must be waited for.
        let wait = values.wait();
        assert!(wait > Duration::from_secs(15) && wait < Duration::from_secs(61), "{wait:?}");
        assert_eq!(values.wait(), Duration::ZERO);
    }

    #[test]
    fn variables_and_specials_are_resolved() {
        let mut values = Values::default();
        values.set("user", "alice");
        let mut text = |value: Value| match values.resolve(&value) {
            Ok(Value::String(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(json!("${user}:${n}")), "alice:${n}");
        assert_eq!(text(json!({ "padded_text": "${user}", "bytes": 8 })), "alicexxx");
        assert_eq!(text(json!({ "retyped_key": "7K3QF-0ZV91" })), "7k3qf ozv9l");
        assert!(values.resolve(&json!({ "code_off": "${user}" })).is_err());
        assert!(values.resolve(&json!({ "code_of": "${user}" })).is_err(), "that is no app");
        assert!(values.resolve(&json!({ "padded_text": "alice", "bytes": 4 })).is_err());
    }
}
