use std::error::Error;
use std::fs;

use super::*;
use crate::config::{Listen, Role, StoreKind};

type Outcome = Result<(), Box<dyn Error>>;

/// Loads `file` (none where it is empty) below `env` and `overrides`.
fn loaded(
    file: &str,
    env: &[(&str, &str)],
    overrides: &[(&str, &str)],
) -> Result<Loaded, Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("twinlock.toml");
    fs::write(&path, file)?;
    let owned = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        pairs.iter().map(own).collect()
    };
    let file = (!file.is_empty()).then_some(path.as_path());
    Ok(load(file, owned(env).into_iter(), &owned(overrides))?)
}

fn refusal(file: &str, env: &[(&str, &str)], overrides: &[(&str, &str)]) -> String {
    match loaded(file, env, overrides) {
        Ok(loaded) => format!("loaded {loaded:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn nothing_at_all_is_a_first_try_with_the_defaults() -> Outcome {
    let first_try = loaded("", &[("PATH", "/bin"), ("TWINLOCKED", "1")], &[])?;
    assert!(first_try.nothing_configured);
    assert_eq!(serde_json::json!(first_try.config), serde_json::json!(Config::default()));
    for configured in [
        loaded("# nothing\n", &[], &[])?,
        loaded("", &[("TWINLOCK_TOTP__DIGITS", "6")], &[])?,
        loaded("", &[], &[("totp.digits", "6")])?,
    ] {
        assert!(!configured.nothing_configured);
    }
    Ok(())
}

#[test]
fn every_default_is_the_documented_one() {
    let mut known = known();
    let cores = known["argon2"]["concurrency"].take();
    assert!(cores.as_u64().is_some_and(|cores| cores >= 1));
    assert_eq!(
        known,
        serde_json::json!({
            "server": {
                "listen": "127.0.0.1:6238", "socket_mode": "0660", "deadline": "5s",
                "tls_cert": null, "tls_key": null, "tls_client_ca": null, "insecure": false,
            },
            "telemetry": {
                "listen": "127.0.0.1:9238", "log": "info", "log_format": "text",
                "otlp_endpoint": null, "otlp_sample": 1.0,
            },
            "store": {
                "kind": "embedded", "path": "./twinlock-data",
                "redis": {
                    "mode": "standalone", "urls": [], "sentinel_master": null, "username": null,
                    "password": null, "tls_ca": null, "timeout": "1s",
                    "acknowledging_replicas": 0, "acknowledge_verify": false,
                },
            },
            "keyring": { "file": "./twinlock-data/keyring.toml", "keys": null },
            "backoff": {
                "tolerated_failures": 1, "initial": "1s", "maximum": "1h", "hard_limit": 0,
            },
            "totp": {
                "issuer": "Twinlock", "algorithm": "SHA1", "digits": 6, "period": "30s",
                "window": 1,
            },
            "enrollment": { "pending_lifetime": "10m" },
            "elevation": { "lifetime": "10m", "from_login": true, "allow_asserted": true },
            "admin": { "users": [] },
            "login": {
                "mode": "normal", "basic": "deny", "basic_users": [], "basic_resources": [],
            },
            "enforcement": { "mode": "off", "authorities": [], "grace": "0s" },
            "argon2": {
                "memory_kib": 19456, "iterations": 2, "parallelism": 1, "concurrency": null,
            },
            "audit": { "path": null },
            "webhook": { "url": null, "secret": null, "events": [] },
            "caller": [{
                "name": "", "token_sha256": null, "san": null, "uid": 0, "roles": ["product"],
                "namespace": "default",
            }],
        }),
        "`uid` has no default: it is a number here to show its kind"
    );
}

#[test]
fn a_flag_goes_before_the_environment_which_goes_before_the_file() -> Outcome {
    let file = "[totp]\nissuer = 'file'\nwindow = 2\n[backoff]\ninitial = '2s'\n";
    let env = [("TWINLOCK_TOTP__ISSUER", "env"), ("TWINLOCK_BACKOFF__INITIAL", "50ms")];
    let config = loaded(file, &env, &[("totp.issuer", "flag")])?.config;
    assert_eq!(config.totp.issuer, "flag");
    assert_eq!(config.backoff.initial.as_millis(), 50);
    assert_eq!(config.totp.window, 2);
    assert_eq!(config.totp.digits, 6);
    Ok(())
}

#[test]
fn the_environment_writes_every_kind_of_value() -> Outcome {
    let env = [
        ("TWINLOCK_STORE__KIND", "redis"),
        ("TWINLOCK_STORE__REDIS__URLS", "redis://a:6379, redis://b:6379,"),
        ("TWINLOCK_STORE__REDIS__ACKNOWLEDGE_VERIFY", "true"),
        ("TWINLOCK_BACKOFF__HARD_LIMIT", "100"),
        ("TWINLOCK_SERVER__LISTEN", "unix:/run/twinlock.sock"),
        ("TWINLOCK_KEYRING__FILE", "/etc/twinlock/keyring.toml"),
    ];
    let config = loaded("", &env, &[])?.config;
    assert_eq!(config.store.kind, StoreKind::Redis);
    assert_eq!(config.store.redis.urls, ["redis://a:6379", "redis://b:6379"]);
    assert!(config.store.redis.acknowledge_verify);
    assert_eq!(config.backoff.hard_limit, 100);
    assert_eq!(config.server.listen, Listen::Unix("/run/twinlock.sock".into()));
    assert_eq!(config.keyring.file, Path::new("/etc/twinlock/keyring.toml"));
    Ok(())
}

#[test]
fn every_key_can_be_set_by_its_variable() -> Outcome {
    let known = known();
    let keys = names(&known);
    let single = |key: &&String| kind_of(key, &known).is_some_and(|kind| !kind.is_object());
    let mut variables = 0;
    for key in keys.iter().filter(single).filter(|key| *key != "caller") {
        let value = match kind_of(key, &known) {
            Some(Known::String(text)) => text.clone(),
            Some(Known::Null) => "text".into(),
            Some(Known::Array(_)) => String::new(),
            other => other.map(ToString::to_string).unwrap_or_default(),
        };
        loaded("", &[(&variable_of(key), &value)], &[])
            .map_err(|error| format!("{key}: {error}"))?;
        variables += 1;
    }
    assert!(variables > 40, "{variables}");
    Ok(())
}

#[test]
fn a_share_is_a_fraction_and_nothing_else_is() -> Outcome {
    let share = |file: &str, env: &[(&str, &str)]| {
        loaded(file, env, &[]).map(|loaded| loaded.config.telemetry.otlp_sample)
    };
    assert_eq!(share("[telemetry]\notlp_sample = 0.25", &[])?, 0.25);
    assert_eq!(share("[telemetry]\notlp_sample = 1", &[])?, 1.0);
    assert_eq!(share("", &[("TWINLOCK_TELEMETRY__OTLP_SAMPLE", "0.5")])?, 0.5);
    assert!(share("[totp]\ndigits = 6.0", &[]).is_err());
    for variable in [("TWINLOCK_TOTP__DIGITS", "6.0"), ("TWINLOCK_TELEMETRY__OTLP_SAMPLE", "half")]
    {
        assert!(share("", &[variable]).is_err(), "{variable:?}");
    }
    Ok(())
}

#[test]
fn an_empty_value_unsets_what_has_no_default() -> Outcome {
    let file = "[store.redis]\nusername = 'file'\nurls = ['redis://a:6379']\ntls_ca = ''\n";
    let env = [("TWINLOCK_STORE__REDIS__USERNAME", ""), ("TWINLOCK_STORE__REDIS__URLS", "")];
    let redis = loaded(file, &env, &[])?.config.store.redis;
    assert_eq!(redis.username, None);
    assert_eq!(redis.tls_ca, None);
    assert_eq!(redis.urls, [""; 0]);
    Ok(())
}

#[test]
fn callers_come_from_the_file() -> Outcome {
    let file = "[[caller]]\nname = 'shop'\nsan = 'shop.internal'\n\
                [[caller]]\nname = 'jobs'\nroles = ['admin', 'operator']\nnamespace = 'jobs'\n";
    let callers = loaded(file, &[], &[])?.config.callers;
    assert_eq!(callers.len(), 2);
    assert_eq!(callers[0].san.as_deref(), Some("shop.internal"));
    assert_eq!(callers[0].roles, [Role::Product]);
    assert_eq!(callers[0].namespace, "default");
    assert_eq!(callers[1].roles, [Role::Admin, Role::Operator]);
    assert_eq!(callers[1].namespace, "jobs");
    assert_eq!(
        refusal("", &[("TWINLOCK_CALLER__NAME", "shop")], &[]),
        "TWINLOCK_CALLER__NAME: callers are written in the file only, each as [[caller]]"
    );
    Ok(())
}

#[test]
fn unknown_keys_are_refused_with_the_nearest() {
    for (file, message) in [
        ("[store]\nknd = 'redis'\n", "store.knd is not a known key; the nearest is store.kind"),
        ("[stor]\nkind = 'redis'\n", "stor is not a known key; the nearest is store"),
        ("grace = '1h'\n", "grace is not a known key; the nearest is enforcement.grace"),
        (
            "[server]\nhard_limit = 1\n",
            "server.hard_limit is not a known key; the nearest is backoff.hard_limit",
        ),
        (
            "[[caller]]\nname = 'a'\n[[caller]]\ntoken = 'a'\n",
            "caller[1].token is not a known key; the nearest is caller.token_sha256",
        ),
    ] {
        assert_eq!(refusal(file, &[], &[]), message);
    }
    for (variable, nearest) in [
        ("TWINLOCK_STOR__KIND", "TWINLOCK_STORE__KIND"),
        ("TWINLOCK_STORE_KIND", "TWINLOCK_STORE__KIND"),
        ("TWINLOCK_STORE__REDIS__URL", "TWINLOCK_STORE__REDIS__URLS"),
        ("TWINLOCK_TOTP__ISSUER_FILE", "TWINLOCK_TOTP__ISSUER"),
        ("TWINLOCK_STORE__REDIS__PASSWORD_FILES", "TWINLOCK_STORE__REDIS__PASSWORD"),
    ] {
        assert_eq!(
            refusal("", &[(variable, "canary")], &[]),
            format!("{variable} is not a known key; the nearest is {nearest}")
        );
    }
    let section = refusal("", &[("TWINLOCK_STORE", "canary")], &[]);
    assert!(section.contains("the nearest is TWINLOCK_STORE__"), "{section}");
    assert_eq!(
        refusal("", &[], &[("totp.digit", "6")]),
        "totp.digit is not a known key; the nearest is totp.digits"
    );
}

#[test]
fn variables_of_clients_and_of_kubernetes_are_no_settings() -> Outcome {
    let env = [
        ("TWINLOCK_ADDRESS", "http://127.0.0.1:6238"),
        ("TWINLOCK_TOKEN", "canary"),
        ("TWINLOCK_CONFIG", "twinlock.toml"),
        ("TWINLOCK_SERVICE_HOST", "10.0.0.1"),
        ("TWINLOCK_SERVICE_PORT", "6238"),
        ("TWINLOCK_SERVICE_PORT_GRPC", "6238"),
        ("TWINLOCK_PORT", "tcp://10.0.0.1:6238"),
        ("TWINLOCK_PORT_6238_TCP_ADDR", "10.0.0.1"),
        ("TWINLOCK_REDIS_SERVICE_HOST", "10.0.0.2"),
    ];
    assert!(loaded("", &env, &[])?.nothing_configured);
    Ok(())
}

#[test]
fn values_of_another_kind_say_what_is_wanted() {
    for (file, message) in [
        (
            "backoff.initial = '1 sec'\n",
            "backoff.initial: \"1 sec\" is not a duration; write 250ms, 1s, 10m or 1h",
        ),
        ("backoff.initial = 1\n", "backoff.initial: got a whole number, wanted a string in quotes"),
        (
            "totp.digits = 'six'\n",
            "totp.digits: got a string, wanted a whole number from 0 to 4294967295",
        ),
        (
            "totp.digits = -6\n",
            "totp.digits: got a whole number, wanted a whole number from 0 to 4294967295",
        ),
        (
            "elevation.from_login = 'yes'\n",
            "elevation.from_login: got a string, wanted true or false",
        ),
        ("admin.users = 'root'\n", "admin.users: got a string, wanted a list"),
        ("admin.users = [1]\n", "admin.users[0]: got a whole number, wanted a string in quotes"),
        ("totp = 6\n", "totp: got a whole number, wanted a section"),
        ("caller = {}\n", "caller: got a section, wanted a list"),
        (
            "store.kind = 'redsi'\n",
            "store.kind: unknown variant `redsi`, expected `embedded` or `redis`",
        ),
        (
            "[[caller]]\nroles = ['root']\n",
            "caller[0].roles[0]: unknown variant `root`, expected one of `product`, `admin`, \
             `operator`",
        ),
        (
            "server.listen = '6238'\n",
            "server.listen: \"6238\" is not an address; write 127.0.0.1:6238 or unix:/path",
        ),
    ] {
        assert_eq!(refusal(file, &[], &[]), message);
    }
    for (variable, text, message) in [
        (
            "TWINLOCK_TOTP__DIGITS",
            "six",
            "totp.digits: \"six\" is not a whole number from 0 to 4294967295",
        ),
        (
            "TWINLOCK_ELEVATION__FROM_LOGIN",
            "yes",
            "elevation.from_login: \"yes\" is not true or false",
        ),
        (
            "TWINLOCK_BACKOFF__MAXIMUM",
            "60",
            "backoff.maximum: \"60\" is not a duration; write 250ms, 1s, 10m or 1h",
        ),
    ] {
        assert_eq!(refusal("", &[(variable, text)], &[]), message);
    }
    assert_eq!(
        refusal("store = 1\n", &[("TWINLOCK_STORE__KIND", "redis")], &[]),
        "store: got a whole number, wanted a section"
    );
}

#[test]
fn files_that_cannot_be_read_are_named() -> Outcome {
    let directory = tempfile::tempdir()?;
    let missing = directory.path().join("missing.toml");
    let Err(error) = load(Some(&missing), std::iter::empty(), &[]) else {
        return Err("a missing file was read".into());
    };
    assert!(error.to_string().contains("missing.toml"), "{error}");
    Ok(())
}

#[test]
fn syntax_errors_have_a_line_and_a_column_and_quote_nothing() {
    for (file, place) in [
        ("[totp]\ndigits = = 6\n", "twinlock.toml, line 2, column 10: "),
        ("# \u{e9}\n[store.redis]\npassword = 'canary\n", "twinlock.toml, line 3, column 19: "),
        ("[store.redis]\npassword = canary\n", "twinlock.toml, line 2, column 12: "),
        ("password = 'canary' canary\n", "twinlock.toml, line 1, column 21: "),
    ] {
        let message = refusal(file, &[], &[]);
        assert!(message.contains(place), "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
}

#[test]
fn secrets_may_be_left_to_a_file() -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("password");
    let text = path.to_str().ok_or("not Unicode")?;
    let variable = "TWINLOCK_STORE__REDIS__PASSWORD_FILE";
    let password = |file: &str, overrides: &[(&str, &str)]| {
        let redis = loaded(file, &[(variable, text)], overrides)?.config.store.redis;
        Ok::<_, Box<dyn Error>>(redis.password.map(|it| it.expose().to_owned()))
    };

    assert!(password("", &[]).is_err(), "there is no such file yet");
    fs::write(&path, "\r\n")?;
    assert!(password("", &[]).is_err(), "an empty file is a mistake");
    fs::write(&path, " pass word \n")?;
    let file = "store.redis.password = 'file'\n";
    assert_eq!(password(file, &[])?.as_deref(), Some(" pass word "));
    let flag = password(file, &[("store.redis.password", "flag")])?;
    assert_eq!(flag.as_deref(), Some("flag"));
    assert_eq!(
        refusal("", &[(variable, text), ("TWINLOCK_STORE__REDIS__PASSWORD", "env")], &[]),
        "store.redis.password: write TWINLOCK_STORE__REDIS__PASSWORD or \
         TWINLOCK_STORE__REDIS__PASSWORD_FILE, not both"
    );
    Ok(())
}

#[test]
fn secrets_show_neither_in_debug_nor_in_errors() -> Outcome {
    let secret = [("TWINLOCK_STORE__REDIS__PASSWORD", "canary")];
    let found = loaded("", &secret, &[])?;
    let password = found.config.store.redis.password.as_ref();
    assert_eq!(password.map(|it| it.expose()), Some("canary"));
    assert!(!format!("{found:?}").contains("canary"));
    assert!(!serde_json::json!(found.config).to_string().contains("canary"));

    for file in [
        "store.redis.password = ['canary']\n",
        "store.redis.password = { canary = 1 }\n",
        "store.redis.urls = ['redis://:canary@a:6379']\n",
        "store.redis.urls = ['unix:///a?pass=canary']\n",
    ] {
        let message = refusal(file, &[], &[]);
        assert!(message.starts_with("store.redis."), "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
    Ok(())
}

#[test]
fn the_page_of_the_configuration_has_every_key_and_no_other() -> Outcome {
    let page = include_str!("../../../../docs/configuration.md");
    let mut rows = std::collections::BTreeMap::new();
    let mut section = "";
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.trim_matches(['`', '[', ']']);
        } else if let Some((key, row)) =
            line.strip_prefix("| `").and_then(|row| row.split_once("` |"))
        {
            rows.insert(format!("{section}.{key}"), row);
        }
    }

    let known = known();
    for key in names(&known) {
        let kind = match key.strip_prefix("caller.") {
            Some(name) => kind_of(name, &known["caller"][0]),
            None => kind_of(&key, &known).filter(|_| key != "caller"),
        };
        let Some(kind) = kind.filter(|kind| !kind.is_object()) else {
            continue;
        };
        let row = rows.remove(&key).ok_or_else(|| format!("{key} is missing"))?;
        let default = match kind {
            _ if key == "argon2.concurrency" => "number of cores".into(),
            _ if ["caller.name", "caller.uid"].contains(&key.as_str()) => "none".into(),
            Known::Null => "none".into(),
            other => format!("`{other}`"),
        };
        assert!(row.contains(&format!("| {default} |")), "{key}: no default {default} in {row}");
        if !key.starts_with("caller.") {
            let variable = format!("`{}`", variable_of(&key));
            assert!(row.contains(&variable), "{key}: no {variable} in {row}");
        }
        if SECRETS.contains(&key.as_str()) {
            let variable = format!("`{}_FILE`", variable_of(&key));
            assert!(row.contains(&variable), "{key}: no {variable} in {row}");
        }
    }
    let unknown: Vec<&String> = rows.keys().collect();
    assert!(unknown.is_empty(), "no such keys: {unknown:?}");
    Ok(())
}
