//! What differs between two configurations.

use serde_json::Value;

use super::{Config, Secret};

impl Config {
    /// The keys, callers apart, whose values differ in another configuration.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        collect("", &serde_json::json!(self), &serde_json::json!(other), &mut keys);
        // They are written as "redacted", and so look alike.
        let secrets = |config: &Self| {
            [
                ("store.redis.password", config.store.redis.password.clone()),
                ("keyring.keys", config.keyring.keys.clone()),
                ("keyring.keys", config.keyring.keys.clone()),
                ("webhook.secret", config.webhook.secret.clone()),
            ]
        };
        for ((key, one), (_, another)) in secrets(self).into_iter().zip(secrets(other)) {
            let is_same = one.as_ref().map(Secret::expose) == another.as_ref().map(Secret::expose);
            if !is_same && !keys.iter().any(|known| known == key) {
                keys.push(key.into());
            }
        }
        keys
    }
}

fn collect(key: &str, one: &Value, another: &Value, keys: &mut Vec<String>) {
    match (one, another) {
        (Value::Object(ones), Value::Object(others)) => {
            for (name, one) in ones {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                collect(&key, one, others.get(name).unwrap_or(&Value::Null), keys);
            }
        }
        _ if key == "caller" || one == another => {}
        _ => keys.push(key.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Caller;

    #[test]
    fn changed_keys_are_named_and_callers_are_none_of_them() {
        let one = Config::default();
        let mut other = one.clone();
        assert_eq!(one.differences(&other), [""; 0]);
        other.callers.push(Caller::default());
        other.server.tls_cert = Some("cert.pem".into());
        other.store.redis.urls.push("redis://a:1".into());
        other.backoff.hard_limit = 100;
        let mut keys = one.differences(&other);
        keys.sort_unstable();
        assert_eq!(keys, ["backoff.hard_limit", "server.tls_cert", "store.redis.urls"]);
    }

    #[test]
    fn a_changed_secret_is_named_and_not_shown() {
        let secret = |text: &str| {
            let mut config = Config::default();
            config.webhook.secret = Some(Secret::from(text.to_owned()));
            config
        };
        assert_eq!(secret("one").differences(&secret("one")), [""; 0]);
        assert_eq!(secret("one").differences(&secret("two")), ["webhook.secret"]);
        assert_eq!(Config::default().differences(&secret("two")), ["webhook.secret"]);
    }
}
