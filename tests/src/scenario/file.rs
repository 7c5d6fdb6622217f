//! From a TOML file to a scenario. What the format does not know is an error.

use super::{Action, Call, End, Outcome, Scenario, Step, Wait, api, directory};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    #[serde(default)]
    settings: toml::Table,
    #[serde(default)]
    step: Vec<Entry>,
}

/// A step as it is written. Which keys belong together is checked when it is read.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    #[serde(rename = "note")]
    _note: Option<String>,
    include: Option<String>,
    wait: Option<String>,
    restart: Option<bool>,
    r#let: Option<BTreeMap<String, Value>>,
    call: Option<String>,
    token: Option<String>,
    request: Option<Map<String, Value>>,
    times: Option<usize>,
    parallel: Option<usize>,
    expect: Option<Map<String, Value>>,
    refused: Option<String>,
    field: Option<String>,
    retry_after: Option<Bounds>,
    outcome: Option<Vec<OutcomeEntry>>,
    save: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutcomeEntry {
    count: usize,
    expect: Option<Map<String, Value>>,
    refused: Option<String>,
    field: Option<String>,
    retry_after: Option<Bounds>,
}

/// What is expected of a call, wherever it was written.
struct EndEntry {
    expect: Option<Map<String, Value>>,
    refused: Option<String>,
    field: Option<String>,
    retry_after: Option<Bounds>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    at_least: Option<String>,
    at_most: Option<String>,
}

pub fn read(path: &Path) -> Result<Scenario> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    parse(&name, &text)
}

fn parse(name: &str, text: &str) -> Result<Scenario> {
    let file: File = toml::from_str(text).with_context(|| format!("{name}.toml"))?;
    let steps = steps(&format!("{name}.toml"), file.step)?;
    ensure!(!file.about.trim().is_empty(), "{name}.toml: `about` says nothing");
    ensure!(!steps.is_empty(), "{name}.toml has no steps");
    let settings = toml::to_string(&file.settings)?;
    Ok(Scenario { name: name.into(), about: file.about, settings, steps })
}

fn steps(file: &str, entries: Vec<Entry>) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let place = format!("{file}, step {}", index + 1);
        let included = entry.include.clone();
        match included {
            Some(name) => steps.extend(include(entry, &name).context(place)?),
            None => {
                let action = action(entry).with_context(|| place.clone())?;
                steps.push(Step { place, action });
            }
        }
    }
    Ok(steps)
}

fn include(entry: Entry, name: &str) -> Result<Vec<Step>> {
    ensure!(kinds(&entry) == 1, "a step has one of include, wait, restart, let and call");
    let path = directory().join("shared").join(name).with_extension("toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let file: File = toml::from_str(&text).with_context(|| path.display().to_string())?;
    ensure!(file.settings.is_empty(), "an included file has no settings");
    steps(&format!("shared/{name}.toml"), file.step)
}

fn kinds(entry: &Entry) -> usize {
    let Entry { include, wait, restart, r#let, call, .. } = entry;
    [include.is_some(), wait.is_some(), restart.is_some(), r#let.is_some(), call.is_some()]
        .into_iter()
        .filter(|given| *given)
        .count()
}

fn action(mut entry: Entry) -> Result<Action> {
    ensure!(kinds(&entry) == 1, "a step has one of include, wait, restart, let and call");
    let end = EndEntry {
        expect: entry.expect.take(),
        refused: entry.refused.take(),
        field: entry.field.take(),
        retry_after: entry.retry_after.take(),
    };
    let only_a_call_has_more = entry.token.is_none()
        && entry.request.is_none()
        && entry.times.is_none()
        && entry.parallel.is_none()
        && end.is_empty()
        && entry.outcome.is_none()
        && entry.save.is_none();
    ensure!(entry.call.is_some() || only_a_call_has_more, "these keys belong to a call");
    if let Some(text) = entry.wait {
        let wait =
            if text == "retry_after" { Wait::RetryAfter } else { Wait::For(duration(&text)?) };
        return Ok(Action::Wait(wait));
    }
    if let Some(restart) = entry.restart {
        ensure!(restart, "`restart` is true or left out");
        return Ok(Action::Restart);
    }
    if let Some(variables) = entry.r#let {
        return Ok(Action::Let(variables));
    }
    call(entry, end).map(Action::Call)
}

fn call(entry: Entry, end: EndEntry) -> Result<Call> {
    let method = entry.call.context("a call names its method")?;
    let (count, parallel) = match (entry.times, entry.parallel) {
        (None, None) => (1, false),
        (Some(count), None) => (count, false),
        (None, Some(count)) => (count, true),
        _ => bail!("`times` and `parallel` exclude each other"),
    };
    let outcomes = match entry.outcome {
        None => vec![Outcome { count, end: end.read()? }],
        Some(outcomes) => {
            ensure!(end.is_empty(), "what is expected is in the outcomes");
            outcomes.into_iter().map(OutcomeEntry::read).collect::<Result<Vec<_>>>()?
        }
    };
    let total: usize = outcomes.iter().map(|outcome| outcome.count).sum();
    ensure!(total == count && count > 0, "{total} outcomes of {count} calls are expected");
    let save = entry.save.unwrap_or_default();
    ensure!(save.is_empty() || !parallel, "of parallel calls nothing can be saved");
    let mut request = entry.request.unwrap_or_default();
    if api::method(&method)?.input().get_field_by_json_name("userId").is_some() {
        request.entry("userId").or_insert_with(|| "${user}".into());
    }
    Ok(Call { method, token: entry.token, request, count, parallel, outcomes, save })
}

impl OutcomeEntry {
    fn read(self) -> Result<Outcome> {
        let Self { count, expect, refused, field, retry_after } = self;
        let end = EndEntry { expect, refused, field, retry_after };
        Ok(Outcome { count, end: end.read()? })
    }
}

impl EndEntry {
    fn is_empty(&self) -> bool {
        let Self { expect, refused, field, retry_after } = self;
        expect.is_none() && refused.is_none() && field.is_none() && retry_after.is_none()
    }

    fn read(self) -> Result<End> {
        let Self { expect, refused, field, retry_after } = self;
        match (expect, refused) {
            (Some(fields), None) => {
                let only_a_refusal_has_more = field.is_none() && retry_after.is_none();
                ensure!(only_a_refusal_has_more, "`field` and `retry_after` belong to `refused`");
                Ok(End::Answer(fields))
            }
            (None, Some(reason)) => {
                let bound = |text: Option<String>, default| match text {
                    Some(text) => duration(&text),
                    None => Ok(default),
                };
                let bounds = retry_after.unwrap_or(Bounds { at_least: None, at_most: None });
                let least = bound(bounds.at_least, Duration::ZERO)?;
                let most = bound(bounds.at_most, Duration::MAX)?;
                Ok(End::Refused { reason, field, retry_after: (least, most) })
            }
            _ => bail!("a call has one of `expect` and `refused`"),
        }
    }
}

fn duration(text: &str) -> Result<Duration> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let number: u64 = text[..text.len() - unit.len()].parse().context(text.to_owned())?;
    Ok(match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number * 60),
        "h" => Duration::from_secs(number * 3600),
        _ => bail!("{text:?} is no duration such as 250ms, 1s, 10m or 1h"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(steps: &str) -> String {
        let text = format!("about = \"A test.\"\n{steps}");
        match parse("test", &text) {
            Ok(_) => String::new(),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn what_the_format_does_not_know_is_an_error() {
        let good = "[[step]]\ncall = \"Verify\"\nrefused = \"BACKOFF\"\n";
        assert_eq!(problem(good), "");
        for (bad, expected) in [
            ("[[step]]\ncall = \"Verify\"\nrefuzed = \"BACKOFF\"\n", "refuzed"),
            ("[[step]]\ncall = \"Verify\"\n", "one of `expect` and `refused`"),
            ("[[step]]\ncall = \"Verfiy\"\nrefused = \"BACKOFF\"\n", "Verfiy"),
            ("[[step]]\nwait = \"1d\"\n", "no duration"),
            ("[[step]]\nwait = \"1s\"\nrestart = true\n", "one of include"),
            ("[[step]]\nwait = \"1s\"\nrefused = \"BACKOFF\"\n", "belong to a call"),
            ("[[step]]\ninclude = \"nothing\"\n", "nothing.toml"),
            ("setings.a = 1\n[[step]]\nwait = \"1s\"\n", "setings"),
            ("", "no steps"),
        ] {
            let problem = problem(bad);
            assert!(problem.contains(expected), "{bad}: {problem}");
        }
        let count = "[[step]]\ncall = \"Verify\"\nparallel = 3\n\
                     [[step.outcome]]\ncount = 2\nrefused = \"BACKOFF\"\n";
        assert!(problem(count).contains("2 outcomes of 3"), "{}", problem(count));
        let unknown = "[[step]]\ncall = \"Verify\"\nparallel = 2\n\
                       [[step.outcome]]\ncount = 2\nreason = \"BACKOFF\"\n";
        assert!(!problem(unknown).is_empty());
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250ms").expect("a duration"), Duration::from_millis(250));
        assert_eq!(duration("2m").expect("a duration"), Duration::from_secs(120));
        assert!(duration("5").is_err() && duration("s").is_err() && duration("-1s").is_err());
    }
}
