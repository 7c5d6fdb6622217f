//! Reading the file, the environment and the flags into one configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Known;
use toml::{Table, Value};
use zeroize::Zeroizing;

use super::{Caller, Config};

/// What every variable of ours begins with.
const PREFIX: &str = "TWINLOCK_";

/// Variables that the command line reads itself. They configure a client, or say where the file is.
const NOT_SETTINGS: [&str; 3] = ["TWINLOCK_ADDRESS", "TWINLOCK_CONFIG", "TWINLOCK_TOKEN"];

/// The keys whose value a variable with `_FILE` after its name may leave to a file.
const SECRETS: [&str; 3] = ["store.redis.password", "keyring.keys", "webhook.secret"];

/// A configuration that was read, and is still to be checked.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Whether there was no file, no variable of ours and no flag: a first try, which may create
    /// its own data.
    pub nothing_configured: bool,
}

/// Where a configuration comes from, so that it can be read again.
#[derive(Clone, Debug)]
pub struct Source {
    pub file: Option<PathBuf>,
    /// Keys and values, from flags.
    pub overrides: Vec<(String, String)>,
}

impl Source {
    /// Reads the configuration as it is now, with this process's environment.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        load(self.file.as_deref(), environment(), &self.overrides)
    }
}

/// Why no configuration could be read. None of these quotes the value of a secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: std::io::Error },
    #[error("{}, line {line}, column {column}: {problem}", path.display())]
    Syntax { path: PathBuf, line: usize, column: usize, problem: String },
    #[error("{name} is not a known key; the nearest is {nearest}")]
    UnknownKey { name: String, nearest: String },
    #[error("{key}: {problem}")]
    Value { key: String, problem: String },
}

/// The variables of ours among those of this process, for [`load`].
///
/// Unlike `std::env::vars`, it does not panic where another variable is not Unicode.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        .map(|(name, value)| {
            let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
            (text(name), text(value))
        })
}

/// Reads the configuration: `overrides` (pairs of a key such as `server.listen` and its value, from
/// flags) go before `env`, which goes before `file`, which goes before the defaults.
///
/// In `overrides` and `env`, lists are comma separated. An empty value unsets a key that has no
/// default.
///
/// # Errors
///
/// What cannot be read, is not TOML, has no such key, or is not of the key's kind. Whether the
/// values make sense together is left to [`Config::check`].
pub fn load(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
    overrides: &[(String, String)],
) -> Result<Loaded, ConfigError> {
    let known = known();
    let names = names(&known);
    let env: BTreeMap<String, String> = env.filter(|(name, _)| is_setting(name)).collect();
    let nothing_configured = file.is_none() && env.is_empty() && overrides.is_empty();

    let mut table = file.map_or_else(|| Ok(Table::new()), read)?;
    for (variable, text) in &env {
        if let Some(key) =
            SECRETS.into_iter().find(|key| *variable == format!("{}_FILE", variable_of(key)))
        {
            let secret = read_secret(key, Path::new(text), &env)?;
            set(&mut table, &known, key, &secret)?;
        } else {
            let key = key_of(variable, &known, &names)?;
            set(&mut table, &known, &key, text)?;
        }
    }
    for (key, value) in overrides {
        set(&mut table, &known, key, value)?;
    }

    let mut value = Value::Table(table);
    conform(&mut value, &known, "", &names)?;
    let config = serde_path_to_error::deserialize(value).map_err(|error| ConfigError::Value {
        key: error.path().to_string(),
        problem: error.inner().message().to_owned(),
    })?;
    Ok(Loaded { config, nothing_configured })
}

/// All keys, each with its default, which shows its kind. A key without a default takes a string.
fn known() -> Known {
    let mut known = serde_json::json!(Config::default());
    known["caller"] = serde_json::json!([Caller::default()]);
    // The one number without a default.
    known["caller"][0]["uid"] = 0.into();
    known
}

/// The environment's name of a key.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

fn key_of(variable: &str, known: &Known, names: &[String]) -> Result<String, ConfigError> {
    if variable.starts_with("TWINLOCK_CALLER") {
        return Err(ConfigError::Value {
            key: variable.into(),
            problem: "callers are written in the file only, each as [[caller]]".into(),
        });
    }
    let is_setting = |name: &&String| {
        *name != "caller" && kind_of(name, known).is_some_and(|kind| !kind.is_object())
    };
    let keys = names.iter().filter(is_setting);
    if let Some(key) = keys.clone().find(|key| variable_of(key) == variable) {
        return Ok(key.clone());
    }
    let spelled = variable[PREFIX.len()..].to_lowercase().replace("__", ".");
    Err(ConfigError::UnknownKey {
        name: variable.into(),
        nearest: variable_of(nearest(&spelled, keys)),
    })
}

fn kind_of<'known>(key: &str, known: &'known Known) -> Option<&'known Known> {
    known.pointer(&format!("/{}", key.replace('.', "/")))
}

fn is_setting(variable: &str) -> bool {
    // Kubernetes gives every pod such variables of every service of its namespace, and a service
    // that is called twinlock is likely.
    let is_of_a_service = !variable.contains("__")
        && (variable.ends_with("_SERVICE_HOST")
            || variable.contains("_SERVICE_PORT")
            || variable.ends_with("_PORT")
            || variable.contains("_PORT_"));
    variable.starts_with(PREFIX) && !NOT_SETTINGS.contains(&variable) && !is_of_a_service
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, ConfigError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(reason) => Err(ConfigError::Unreadable { path: path.into(), reason }),
    }
}

fn read_secret(
    key: &str,
    path: &Path,
    env: &BTreeMap<String, String>,
) -> Result<Zeroizing<String>, ConfigError> {
    let variable = variable_of(key);
    let refuse = |problem| {
        let key = key.into();
        Err(ConfigError::Value { key, problem })
    };
    if env.contains_key(&variable) {
        return refuse(format!("write {variable} or {variable}_FILE, not both"));
    }
    let mut secret = read_text(path)?;
    let length = secret.trim_end_matches(['\r', '\n']).len();
    if length == 0 {
        return refuse(format!("{} is empty", path.display()));
    }
    secret.truncate(length);
    Ok(secret)
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = read_text(path)?;
    toml::from_str(&text).map_err(|error| {
        // The parser's own text quotes the line, which may hold a password.
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        ConfigError::Syntax {
            path: path.into(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            problem: error.message().to_owned(),
        }
    })
}

/// Puts the text of a variable or flag in its place, as the kind that its key asks for.
///
/// Whether the key is known, and what stands above it a table, is left to [`conform`].
fn set(table: &mut Table, known: &Known, key: &str, text: &str) -> Result<(), ConfigError> {
    let kind = kind_of(key, known);
    let value = match kind {
        Some(Known::Number(default)) if default.is_f64() => text.parse().ok().map(Value::Float),
        Some(Known::Number(_)) => text.parse().ok().map(Value::Integer),
        Some(Known::Bool(_)) => text.parse().ok().map(Value::Boolean),
        Some(Known::Array(_)) => {
            let items = text.split(',').map(str::trim).filter(|it| !it.is_empty());
            Some(Value::Array(items.map(Value::from).collect()))
        }
        _ => Some(Value::from(text)),
    };
    let value = value.ok_or_else(|| ConfigError::Value {
        key: key.into(),
        problem: format!("{text:?} is not {}", kind.map_or("", wanted)),
    })?;

    let (sections, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut place = table;
    for section in sections.split('.').filter(|section| !section.is_empty()) {
        let inner = place.entry(section).or_insert(Value::Table(Table::new()));
        match inner {
            Value::Table(inner) => place = inner,
            _ => return Ok(()),
        }
    }
    place.insert(name.into(), value);
    Ok(())
}

/// Refuses keys that are not known and values that are not of their key's kind.
fn conform(
    value: &mut Value,
    known: &Known,
    key: &str,
    names: &[String],
) -> Result<(), ConfigError> {
    match (known, &mut *value) {
        (Known::Object(keys), Value::Table(table)) => {
            for (name, inner) in &mut *table {
                let inner_key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let Some(known) = keys.get(name) else {
                    return Err(ConfigError::UnknownKey {
                        nearest: nearest(&inner_key, names.iter()).to_owned(),
                        name: inner_key,
                    });
                };
                conform(inner, known, &inner_key, names)?;
            }
            let is_unset = |name: &str, value: &Value| {
                keys.get(name).is_some_and(Known::is_null) && value.as_str() == Some("")
            };
            table.retain(|name, value| !is_unset(name, value));
            Ok(())
        }
        (Known::Array(_), Value::Array(items)) => {
            let text = Known::Null;
            let item_kind = if key == "caller" { &known[0] } else { &text };
            items.iter_mut().enumerate().try_for_each(|(index, item)| {
                conform(item, item_kind, &format!("{key}[{index}]"), names)
            })
        }
        (Known::Number(default), Value::Float(_)) if default.is_f64() => Ok(()),
        (Known::Number(_), Value::Integer(number)) if u32::try_from(*number).is_ok() => Ok(()),
        (Known::Null | Known::String(_), Value::String(_))
        | (Known::Bool(_), Value::Boolean(_)) => Ok(()),
        (known, value) => Err(ConfigError::Value {
            key: key.into(),
            problem: format!("got {}, wanted {}", given(value), wanted(known)),
        }),
    }
}

fn given(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a fraction",
        Value::Boolean(_) => "a boolean",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
    }
}

fn wanted(known: &Known) -> &'static str {
    match known {
        Known::Null | Known::String(_) => "a string in quotes",
        Known::Number(default) if default.is_f64() => "a number",
        Known::Number(_) => "a whole number from 0 to 4294967295",
        Known::Bool(_) => "true or false",
        Known::Array(_) => "a list",
        Known::Object(_) => "a section",
    }
}

/// All names of sections and keys, those of callers included.
fn names(known: &Known) -> Vec<String> {
    fn collect(known: &Known, prefix: &str, names: &mut Vec<String>) {
        let known = known.get(0).unwrap_or(known);
        for (name, inner) in known.as_object().into_iter().flatten() {
            let name = format!("{prefix}{name}");
            collect(inner, &format!("{name}."), names);
            names.push(name);
        }
    }
    let mut names = Vec::new();
    collect(known, "", &mut names);
    names
}

/// One that is a letter off goes first; then the right key in a wrong section goes before one that is
/// merely spelled alike.
fn nearest<'names>(name: &str, names: impl Iterator<Item = &'names String>) -> &'names str {
    fn last(name: &str) -> Option<&str> {
        name.rsplit('.').next()
    }
    let likeness = |known: &str| {
        let is_called_so = last(known) == last(name);
        let spelling = strsim::jaro_winkler(known, name);
        f64::from(u8::from(is_called_so || spelling > 0.98)) + spelling
    };
    names.max_by(|one, other| likeness(one).total_cmp(&likeness(other))).map_or("", String::as_str)
}

#[cfg(test)]
mod tests;
