//! The kinds of values that TOML does not know.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Where to listen: `127.0.0.1:6238`, `[::1]:6238`, `localhost:6238` or `unix:/run/twinlock.sock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// `host:port`, whose host is an address or a name; port 0 takes any that is free.
    Tcp(String),
    /// The path of a socket.
    Unix(PathBuf),
}

impl Listen {
    /// Whether only this machine can connect. Of names, only `localhost` is believed to be so.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(address) => match address.parse::<SocketAddr>() {
                Ok(address) => address.ip().is_loopback(),
                Err(_) => address
                    .rsplit_once(':')
                    .is_some_and(|(host, _)| host.eq_ignore_ascii_case("localhost")),
            },
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        let is_host_and_port = text.rsplit_once(':').is_some_and(|(host, port)| {
            let is_address = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
            let is_name = !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            (is_address || is_name) && port.parse::<u16>().is_ok()
        });
        if is_host_and_port {
            Ok(Self::Tcp(text))
        } else {
            Err(format!("{text:?} is not an address; write 127.0.0.1:6238 or unix:/path"))
        }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The permissions of a Unix socket, octal: `0660` lets its owner and its group connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SocketMode(u32);

impl SocketMode {
    /// The permission bits, at most 0o777.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether every user of this machine may connect, which takes the permission to write.
    pub fn is_open_to_all(self) -> bool {
        self.0 & 0o002 != 0
    }
}

impl Default for SocketMode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl TryFrom<String> for SocketMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_octal =
            [3, 4].contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
        let bits = u32::from_str_radix(&text, 8).ok().filter(|bits| is_octal && *bits <= 0o777);
        bits.map(Self).ok_or_else(|| format!("{text:?} is not a mode; write it octal, as 0660"))
    }
}

impl From<SocketMode> for String {
    fn from(mode: SocketMode) -> Self {
        format!("{:04o}", mode.0)
    }
}

/// A value that never shows in logs, errors or a serialized configuration.
#[derive(Clone, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The value itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(Zeroizing::new(value))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("redacted")
    }
}

/// URLs are logged and shown in errors, so a password in one is refused, without quoting it.
pub(super) fn urls_without_credentials<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let urls = Vec::<String>::deserialize(deserializer)?;
    if urls.iter().any(|url| url.contains('@') || url.contains("pass=")) {
        return Err(serde::de::Error::custom(
            "an address must not hold a user or a password; write store.redis.username and \
             store.redis.password (TWINLOCK_STORE__REDIS__PASSWORD_FILE)",
        ));
    }
    Ok(urls)
}

/// Durations, written as a whole number and a unit: `250ms`, `1s`, `10m`, `1h`.
pub mod duration {
    use std::time::Duration;

    use super::{Deserialize, Deserializer, Serializer};

    /// Milliseconds in each unit, the largest unit first.
    const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

    /// Parses one; `None` where it is none, or is longer than 2^64 ms.
    pub fn parse(text: &str) -> Option<Duration> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let milliseconds = number.parse::<u64>().ok()?.checked_mul(*scale)?;
        Some(Duration::from_millis(milliseconds))
    }

    /// Writes one in the largest unit that holds it exactly; less than a millisecond is cut off.
    pub fn format(duration: Duration) -> String {
        let milliseconds = duration.as_millis();
        if milliseconds == 0 {
            return "0s".into();
        }
        UNITS
            .iter()
            .map(|(unit, scale)| (unit, u128::from(*scale)))
            .find(|(_, scale)| milliseconds.is_multiple_of(*scale))
            .map_or_else(String::new, |(unit, scale)| format!("{}{unit}", milliseconds / scale))
    }

    pub(in crate::config) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*duration))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{text:?} is not a duration; write 250ms, 1s, 10m or 1h"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn durations_are_one_number_and_one_unit() {
        for (text, milliseconds) in
            [("250ms", 250), ("1s", 1_000), ("10m", 600_000), ("1h", 3_600_000)]
        {
            let parsed = duration::parse(text);
            assert_eq!(parsed, Some(Duration::from_millis(milliseconds)));
            assert_eq!(parsed.map(duration::format).as_deref(), Some(text));
        }
        assert_eq!(duration::format(Duration::ZERO), "0s");
        assert_eq!(duration::format(Duration::from_secs(90)), "90s");
        for text in [
            "",
            "1",
            "s",
            "1 s",
            " 1s",
            "1 sec",
            "-1s",
            "+1s",
            "1.5s",
            "1h30m",
            "1S",
            "1d",
            "\u{661}s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(duration::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn addresses_are_host_and_port_or_a_socket() {
        for text in ["127.0.0.1:6238", "[::1]:0", "localhost:6238", "twinlock.internal:1"] {
            assert_eq!(Listen::try_from(text.to_owned()), Ok(Listen::Tcp(text.into())));
        }
        let socket = Listen::try_from("unix:/run/twinlock.sock".to_owned());
        assert_eq!(socket, Ok(Listen::Unix("/run/twinlock.sock".into())));
        for text in [
            "",
            ":6238",
            "6238",
            "127.0.0.1",
            "localhost:",
            "localhost:65536",
            "::1:80",
            "*:80",
            "unix:",
            "http://localhost:80",
        ] {
            assert!(Listen::try_from(text.to_owned()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn socket_modes_are_octal_permissions() {
        let parsed = |text: &str| SocketMode::try_from(text.to_owned()).map(SocketMode::bits);
        assert_eq!(parsed("0660"), Ok(0o660));
        assert_eq!(parsed("600"), Ok(0o600));
        assert_eq!(String::from(SocketMode::default()), "0660");
        for text in
            ["", "60", "0o660", "+660", "-660", "0888", "1777", "4660", "00660", "rw-rw----"]
        {
            assert!(parsed(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_loopback_and_sockets_are_local() {
        let is_local = |text: &str| Listen::try_from(text.to_owned()).map(|it| it.is_local());
        for text in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/a"] {
            assert_eq!(is_local(text), Ok(true), "{text}");
        }
        for text in
            ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example.com:1", "[::ffff:10.0.0.1]:1"]
        {
            assert_eq!(is_local(text), Ok(false), "{text}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let secret = Secret::from("canary".to_owned());
        assert_eq!(secret.expose(), "canary");
        assert!(!format!("{secret:?}").contains("canary"));
        assert!(!serde_json::json!(secret).to_string().contains("canary"));
    }
}
