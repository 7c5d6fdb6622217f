//! The keyring's file: TOML, readable to its owner alone.

use anyhow::{Context, Result, anyhow, bail, ensure};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};
use twinlock_core::Timestamp;
use twinlock_engine::entropy;
use twinlock_engine::seal::{KeyId, Keyring};
use zeroize::Zeroizing;

/// What is in the file.
#[derive(Clone)]
pub struct File {
    primary: KeyId,
    keys: Vec<Entry>,
    /// What a later release may have added.
    other: toml::Table,
}

/// One key of the file.
#[derive(Clone)]
pub struct Entry {
    /// Its name.
    pub id: KeyId,
    secret: Zeroizing<[u8; 32]>,
    /// When it was added ahead of its time; a key that has become the primary has none.
    pub prepared: Option<Timestamp>,
    /// When it became the primary, where that is known.
    pub primary_since: Option<Timestamp>,
    /// When another became the primary in its place, where that is known.
    pub primary_until: Option<Timestamp>,
    other: toml::Table,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It seals.
    Primary,
    /// It is known ahead of the time when it will seal.
    Prepared,
    /// It only opens.
    Former,
}

impl File {
    /// A new one with one random key.
    pub fn generate(now: Timestamp) -> Self {
        let key = Entry { primary_since: Some(now), ..Entry::random() };
        Self { primary: key.id, keys: vec![key], other: toml::Table::new() }
    }

    /// Reads one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .with_context(|| format!("cannot read the keyring {}", path.display()))?;
        parse(&text).with_context(|| not_usable(path))
    }

    /// Its keys, the primary first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        let primary = self.keys.iter().filter(|key| key.id == self.primary);
        primary.chain(self.keys.iter().filter(|key| key.id != self.primary))
    }

    /// What a key is for.
    pub fn state(&self, key: &Entry) -> State {
        if key.id == self.primary {
            State::Primary
        } else if key.prepared.is_some() {
            State::Prepared
        } else {
            State::Former
        }
    }

    /// The keyring that it holds.
    pub fn keyring(&self) -> Result<Keyring> {
        let keys = self.keys.iter().map(|key| (key.id, key.secret.clone()));
        let prepared = self.entries().filter(|key| self.state(key) == State::Prepared);
        let prepared: Vec<KeyId> = prepared.map(|key| key.id).collect();
        Ok(Keyring::new(self.primary, keys)?.with_prepared(&prepared)?)
    }

    /// The key that is prepared.
    pub fn prepared(&self) -> Option<KeyId> {
        self.entries().find(|key| self.state(key) == State::Prepared).map(|key| key.id)
    }

    /// Adds a key that is to be the primary one day.
    pub fn prepare(&mut self, now: Timestamp) -> Result<KeyId> {
        if let Some(key) = self.prepared() {
            bail!(
                "Key {key} is prepared already. When every replica has it, run `twinlock keys rotate`."
            );
        }
        let key = Entry { prepared: Some(now), ..self.unused() };
        let id = key.id;
        self.keys.push(key);
        Ok(id)
    }

    /// Makes the prepared key the primary, or a new one where none is prepared.
    pub fn rotate(&mut self, now: Timestamp) -> KeyId {
        let next = self.prepared().unwrap_or_else(|| {
            let key = self.unused();
            let id = key.id;
            self.keys.push(key);
            id
        });
        for key in &mut self.keys {
            if key.id == self.primary {
                key.primary_until = Some(now);
            }
            if key.id == next {
                (key.prepared, key.primary_since, key.primary_until) = (None, Some(now), None);
            }
        }
        self.primary = next;
        next
    }

    /// Removes a key.
    pub fn retire(&mut self, id: KeyId) -> Result<Entry> {
        ensure!(
            id != self.primary,
            "Key {id} is the primary. Rotate first: `twinlock keys rotate`."
        );
        let at = self.keys.iter().position(|key| key.id == id);
        let at = at.with_context(|| format!("There is no key {id} in the keyring."))?;
        Ok(self.keys.remove(at))
    }

    /// Puts one back that was removed.
    pub fn put_back(&mut self, key: Entry) {
        if self.keys.iter().all(|other| other.id != key.id) {
            self.keys.push(key);
        }
    }

    /// Writes a file where there is none.
    pub fn create(&self, path: &Path) -> Result<()> {
        let text = self.text()?;
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot make the keyring {}", path.display()))?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        // The name of a new file is as durable as its directory, and what it seals is lost without it.
        directory(path)?.sync_all()?;
        Ok(())
    }

    /// Changes the file at a path, all or nothing: whoever reads it meanwhile, and a crash, find the file as
    /// it was or as it is to be. Two changes at once happen one after the other.
    pub fn change<T>(path: &Path, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        // A link stays a link: what it leads to is replaced.
        let path = fs::canonicalize(path)
            .with_context(|| format!("cannot read the keyring {}", path.display()))?;
        let directory = directory(&path)?;
        directory.lock().context("cannot lock the keyring's directory")?;
        let mut file = Self::read(&path)?;
        let changed = change(&mut file)?;
        file.keyring()?;
        let new = Temporary::beside(&path)?;
        file.write_over(&path, &new)
            .with_context(|| format!("cannot write the keyring {}", path.display()))?;
        directory.sync_all()?;
        Ok(changed)
    }

    fn write_over(&self, path: &Path, new: &Temporary) -> Result<()> {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new.0)?;
        let old = fs::metadata(path)?;
        let own = out.metadata()?;
        if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
            // Otherwise a server that runs as another user could not read it any more.
            fchown(&out, Some(old.uid()), Some(old.gid()))
                .context("it belongs to another user; run the command as that user")?;
        }
        out.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
        out.write_all(self.text()?.as_bytes())?;
        out.sync_all()?;
        Ok(fs::rename(&new.0, path)?)
    }

    /// A random key whose id no other has.
    fn unused(&self) -> Entry {
        loop {
            let key = Entry::random();
            if self.keys.iter().all(|other| other.id != key.id) {
                return key;
            }
        }
    }

    fn text(&self) -> Result<Zeroizing<String>> {
        let keys = self.keys.iter().map(|key| TextKey {
            id: key.id.to_string(),
            secret: key.text(),
            prepared: key.prepared.map(written),
            primary_since: key.primary_since.map(written),
            primary_until: key.primary_until.map(written),
            other: key.other.clone(),
        });
        let file = Text {
            primary: self.primary.to_string(),
            other: self.other.clone(),
            keys: keys.collect(),
        };
        let text = Zeroizing::new(toml::to_string(&file)?);
        Ok(Zeroizing::new(format!("{HEAD}{}", *text)))
    }
}

impl Entry {
    fn random() -> Self {
        Self {
            id: KeyId::random(),
            secret: Zeroizing::new(entropy::bytes()),
            prepared: None,
            primary_since: None,
            primary_until: None,
            other: toml::Table::new(),
        }
    }

    fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(BASE64.encode(self.secret.as_slice()))
    }

    /// The key as the setting `keyring.keys` has it, secret and all.
    pub fn expose_line(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{}:{}", self.id, *self.text()))
    }
}

pub(super) fn not_usable(path: &Path) -> String {
    format!("the keyring {} is not usable", path.display())
}

/// Reads the secret of a key.
pub(super) fn secret(id: impl std::fmt::Display, text: &str) -> Result<Zeroizing<[u8; 32]>> {
    let bytes = BASE64.decode(text.as_bytes()).map(Zeroizing::new);
    let bytes = bytes.ok().filter(|bytes| bytes.len() == 32);
    let bytes = bytes.with_context(|| format!("key {id} is not 32 bytes of base64"))?;
    let mut secret = Zeroizing::new([0; 32]);
    secret.copy_from_slice(&bytes);
    ensure!(secret.iter().any(|byte| *byte != 0), "key {id} is all zeros");
    Ok(secret)
}

const HEAD: &str = "\
# The keys that open what Twinlock keeps. Without this file the store is worth nothing, to you too:
# keep a copy of it apart from the store's backups.
";

#[derive(Serialize, Deserialize)]
struct Text {
    primary: String,
    #[serde(flatten)]
    other: toml::Table,
    #[serde(rename = "key")]
    keys: Vec<TextKey>,
}

#[derive(Serialize, Deserialize)]
struct TextKey {
    id: String,
    secret: Zeroizing<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prepared: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_until: Option<String>,
    #[serde(flatten)]
    other: toml::Table,
}

fn parse(text: &str) -> Result<File> {
    // The parser's own message may quote the line, and the line may hold a key.
    let text = toml::from_str::<Text>(text).map_err(|_| {
        anyhow!("it is not a TOML file with `primary` and `[[key]]` entries of `id` and `secret`")
    })?;
    let id = |text: &str| KeyId::parse(text).context("a key's id must be 8 hexadecimal digits");
    let mut keys = Vec::with_capacity(text.keys.len());
    for key in text.keys {
        let id = id(&key.id)?;
        keys.push(Entry {
            id,
            secret: secret(id, &key.secret)?,
            prepared: time(id, key.prepared)?,
            primary_since: time(id, key.primary_since)?,
            primary_until: time(id, key.primary_until)?,
            other: key.other,
        });
    }
    let file = File { primary: id(&text.primary)?, keys, other: text.other };
    file.keyring()?;
    Ok(file)
}

fn written(at: Timestamp) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(at.as_secs())).to_string()
}

fn time(key: KeyId, text: Option<String>) -> Result<Option<Timestamp>> {
    let read = |text: String| {
        let at = humantime::parse_rfc3339(&text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Timestamp::from_secs(at.as_secs()))
    };
    text.map(|text| read(text).with_context(|| format!("a time of key {key} is not RFC 3339")))
        .transpose()
}

fn directory(path: &Path) -> Result<fs::File> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    fs::File::open(parent).with_context(|| format!("cannot open {}", parent.display()))
}

/// The name of a file that is gone if it was not put in its place.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Result<Self> {
        let name = path.file_name().context("the keyring has no file name")?.to_string_lossy();
        let random = HEXLOWER.encode(&entropy::bytes::<8>());
        Ok(Self(path.with_file_name(format!(".{name}.{random}"))))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Where it was put in its place, there is nothing under its name.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
