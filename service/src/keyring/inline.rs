//! A keyring on one line, for platforms that hand secrets over in the environment.

use super::file::secret;
use anyhow::{Context, Result};
use twinlock_engine::seal::{KeyId, Keyring};

/// Reads `ID:SECRET`, separated by commas, the primary first; `+ID:SECRET` is a prepared key.
pub fn parse(text: &str) -> Result<Keyring> {
    let mut keys = Vec::new();
    let mut prepared = Vec::new();
    for entry in text.split(',').map(str::trim) {
        let (is_prepared, entry) = match entry.strip_prefix('+') {
            Some(entry) => (true, entry),
            None => (false, entry),
        };
        let (id, key) = entry.split_once(':').context("each key is written as ID:SECRET")?;
        let id = KeyId::parse(id).context("a key's id must be 8 hexadecimal digits")?;
        keys.push((id, secret(id, key)?));
        if is_prepared {
            prepared.push(id);
        }
    }
    let primary = keys.first().map(|(id, _)| *id).context("there is no key")?;
    Ok(Keyring::new(primary, keys)?.with_prepared(&prepared)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::BASE64;

    #[test]
    fn the_first_key_is_the_primary_and_one_with_a_plus_is_prepared() {
        let key = |byte| BASE64.encode(&[byte; 32]);
        let text = format!("0000000a:{}, 0000000b:{},+0000000c:{}", key(1), key(2), key(3));
        let ring = parse(&text).expect("a keyring");
        assert_eq!(ring.primary(), KeyId(10));
        assert!(ring.is_former(KeyId(11)) && ring.is_prepared(KeyId(12)));
        assert!(parse(&format!("+0000000a:{}", key(1))).is_err(), "nothing would seal");
    }

    #[test]
    fn an_error_never_quotes_a_key() {
        let secret = BASE64.encode(&[0x55; 31]);
        for text in [
            format!("0000000a:{secret}"),
            secret.clone(),
            format!("{secret}:{secret}"),
            format!("0000000a:{secret},"),
            String::new(),
        ] {
            let error = format!("{:?}", parse(&text).expect_err("broken"));
            assert!(!error.contains(&secret), "{error}");
        }
    }
}
