//! The keyring's file: TOML, readable to its owner alone.

use anyhow::{Context, Result, bail, ensure};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use twinlock_engine::entropy;
use twinlock_engine::seal::{KeyId, Keyring};
use zeroize::Zeroizing;

/// Reads a keyring.
pub fn read(path: &Path) -> Result<Keyring> {
    let text = fs::read_to_string(path)
        .map(Zeroizing::new)
        .with_context(|| format!("cannot read the keyring {}", path.display()))?;
    if is_open_to_others(path) {
        tracing::warn!(
            keyring = %path.display(),
            "others than its owner may read the keyring; run `chmod 600` on it"
        );
    }
    parse(&text).with_context(|| format!("the keyring {} is not usable", path.display()))
}

/// Makes a keyring with one random key; refuses to write over anything.
pub fn generate(path: &Path) -> Result<Keyring> {
    let id = KeyId::random();
    let key = Zeroizing::new(entropy::bytes::<32>());
    let file = File {
        primary: id.to_string(),
        keys: vec![FileKey {
            id: id.to_string(),
            secret: Zeroizing::new(BASE64.encode(key.as_slice())),
        }],
    };
    let text = Zeroizing::new(format!("{HEAD}{}", toml::to_string(&file)?));
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make the keyring {}", path.display()))?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        // The name of a new file is as durable as its directory, and what it seals is lost without it.
        fs::File::open(directory)?.sync_all()?;
    }
    parse(&text)
}

/// Whether others than the owner may read a file.
pub fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

const HEAD: &str = "\
# The keys that open what Twinlock keeps. Without this file the store is worth nothing, to you too:
# keep a copy of it apart from the store's backups.
";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    primary: String,
    #[serde(rename = "key")]
    keys: Vec<FileKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileKey {
    id: String,
    secret: Zeroizing<String>,
}

fn parse(text: &str) -> Result<Keyring> {
    // The parser's own message may quote the line, and the line may hold a key.
    let Ok(file) = toml::from_str::<File>(text) else {
        bail!("it is not a TOML file with `primary` and `[[key]]` entries of `id` and `secret`");
    };
    let id = |text: &str| KeyId::parse(text).context("a key's id must be 8 hexadecimal digits");
    let mut keys = Vec::with_capacity(file.keys.len());
    for key in &file.keys {
        let bytes = BASE64.decode(key.secret.as_bytes()).map(Zeroizing::new);
        let bytes = bytes.ok().filter(|bytes| bytes.len() == 32);
        let bytes = bytes.with_context(|| format!("key {} is not 32 bytes of base64", key.id))?;
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(&bytes);
        ensure!(secret.iter().any(|byte| *byte != 0), "key {} is all zeros", key.id);
        keys.push((id(&key.id)?, secret));
    }
    Ok(Keyring::new(id(&file.primary)?, keys)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_keyring_reads_again_and_is_its_owners_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keyring.toml");
        let marker = generate(&path).expect("made").new_marker();
        assert!(read(&path).expect("read").open_marker(&marker).is_ok());
        assert!(!is_open_to_others(&path));
        assert!(generate(&path).is_err(), "an existing keyring is never written over");
    }

    #[test]
    fn an_error_never_quotes_a_key() {
        let secret = BASE64.encode(&[0x55; 31]);
        let broken = [
            format!("primary = \"0000000a\"\n[[key]]\nid = \"0000000a\"\nsecret = \"{secret}\""),
            format!("primary = \"0000000a\"\n[[key]]\nid = \"0000000a\"\nsecret = {secret}"),
            format!("primary = \"{secret}\"\n[[key]]\nid = \"x\"\nsecret = \"{secret}\""),
        ];
        for text in broken {
            let error = format!("{:?}", parse(&text).expect_err("broken"));
            assert!(!error.contains(&secret), "{error}");
        }
    }
}
