use super::*;
use crate::config::{Caller, Listen, Role};

const TOKEN_SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn with(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// The keys of the problems that a change of the default brings.
fn problems(change: impl FnOnce(&mut Config)) -> Vec<String> {
    let problems = with(change).check();
    problems.into_iter().map(|problem| problem.key).collect()
}

fn warnings(change: impl FnOnce(&mut Config)) -> Vec<String> {
    let warnings = with(change).warnings();
    warnings.into_iter().map(|warning| warning.key).collect()
}

fn caller() -> Caller {
    Caller { name: "shop".into(), token_sha256: Some(TOKEN_SHA256.into()), ..Caller::default() }
}

fn redis(config: &mut Config) -> &mut Redis {
    config.store.kind = StoreKind::Redis;
    config.store.redis.urls = vec!["redis://127.0.0.1:6379".into()];
    &mut config.store.redis
}

fn tls(config: &mut Config) {
    config.server.tls_cert = Some("cert.pem".into());
    config.server.tls_key = Some("key.pem".into());
}

const NONE: [&str; 0] = [];
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn the_defaults_have_neither_problems_nor_warnings() {
    assert_eq!(Config::default().check(), []);
    assert_eq!(Config::default().warnings(), []);
}

#[test]
fn all_problems_are_found_at_once_and_say_what_to_write() {
    let problems = with(|it| {
        it.totp.digits = 7;
        it.backoff.tolerated_failures = 11;
        it.argon2.concurrency = 0;
    })
    .check();
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "backoff.tolerated_failures is 11; write 0 to 10",
            "totp.digits is 7; write 6 or 8",
            "argon2.concurrency is 0; write 1 to 1024",
        ]
    );
}

#[test]
fn deadlines_are_bounded() {
    for (deadline, wrong) in [
        (99 * MILLISECOND, true),
        (100 * MILLISECOND, false),
        (300 * SECOND, false),
        (300 * SECOND + MILLISECOND, true),
    ] {
        let found = problems(|it| it.server.deadline = deadline);
        assert_eq!(found.contains(&"server.deadline".into()), wrong, "{deadline:?}");
    }
}

#[test]
fn an_address_that_is_not_loopback_needs_tls_and_callers_or_insecure() {
    let open = |config: &mut Config| config.server.listen = Listen::Tcp("0.0.0.0:6238".into());
    assert_eq!(problems(open), ["server.listen"]);
    assert_eq!(
        problems(|it| {
            open(it);
            tls(it);
        }),
        ["server.listen"]
    );
    assert_eq!(
        problems(|it| {
            open(it);
            it.callers.push(caller());
        }),
        ["server.listen"]
    );
    let protected = |it: &mut Config| {
        open(it);
        tls(it);
        it.callers.push(caller());
    };
    assert_eq!(problems(protected), NONE);
    assert_eq!(warnings(protected), NONE);
    let insecure = |it: &mut Config| {
        open(it);
        it.server.insecure = true;
    };
    assert_eq!(problems(insecure), NONE);
    assert_eq!(warnings(insecure), ["server.insecure"]);
    assert_eq!(warnings(|it| it.server.insecure = true), NONE);
    let socket = |it: &mut Config| it.server.listen = Listen::Unix("/run/twinlock.sock".into());
    assert_eq!(problems(socket), NONE);
}

#[test]
fn tls_files_come_together() {
    let cert_alone = problems(|it| it.server.tls_cert = Some("cert.pem".into()));
    assert_eq!(cert_alone, ["server.tls_key"]);
    let key_alone = problems(|it| it.server.tls_key = Some("key.pem".into()));
    assert_eq!(key_alone, ["server.tls_cert"]);
    let client_ca = |it: &mut Config| it.server.tls_client_ca = Some("ca.pem".into());
    assert_eq!(problems(client_ca), ["server.tls_client_ca"]);
    assert_eq!(
        problems(|it| {
            tls(it);
            client_ca(it);
        }),
        NONE
    );
}

#[test]
fn telemetry_is_readable() {
    let log = problems(|it| it.telemetry.log = "twinlock=loud".into());
    assert_eq!(log, ["telemetry.log"]);
    assert_eq!(problems(|it| it.telemetry.log = "info,h2=warn".into()), NONE);
    let endpoint = |text: &str| problems(|it| it.telemetry.otlp_endpoint = Some(text.into()));
    assert_eq!(endpoint("127.0.0.1:4317"), ["telemetry.otlp_endpoint"]);
    for sample in [-0.1, 1.1, f64::NAN] {
        let wrong = problems(|it| it.telemetry.otlp_sample = sample);
        assert_eq!(wrong, ["telemetry.otlp_sample"]);
    }
    assert_eq!(problems(|it| it.telemetry.otlp_sample = 0.25), NONE);
    assert_eq!(endpoint("http://127.0.0.1:4317"), NONE);
}

#[test]
fn paths_are_not_empty() {
    assert_eq!(problems(|it| it.store.path = "".into()), ["store.path"]);
    assert_eq!(problems(|it| it.keyring.file = "".into()), ["keyring.file"]);
}

#[test]
fn redis_needs_addresses_that_fit_its_mode() {
    let urls = |urls: &[&str], mode: RedisMode| {
        problems(|it| {
            redis(it).urls = urls.iter().map(ToString::to_string).collect();
            it.store.redis.mode = mode;
        })
    };
    let one = "redis://a:6379";
    assert_eq!(urls(&[one], RedisMode::Standalone), NONE);
    assert_eq!(urls(&["unix:///run/redis.sock"], RedisMode::Standalone), NONE);
    assert_eq!(urls(&[one, "rediss://b:6379"], RedisMode::Cluster), NONE);
    assert_eq!(urls(&[], RedisMode::Cluster), ["store.redis.urls"]);
    assert_eq!(urls(&[one, one], RedisMode::Standalone), ["store.redis.urls"]);
    assert_eq!(urls(&["a:6379"], RedisMode::Standalone), ["store.redis.urls"]);
    assert_eq!(urls(&[one], RedisMode::Sentinel), ["store.redis.sentinel_master"]);
    assert_eq!(
        problems(|it| {
            redis(it).mode = RedisMode::Sentinel;
            it.store.redis.sentinel_master = Some("main".into());
        }),
        NONE
    );
}

#[test]
fn redis_verifies_certificates_only_over_tls() {
    let tls_ca = |url: &str| {
        problems(|it| {
            redis(it).urls = vec![url.into()];
            it.store.redis.tls_ca = Some("ca.pem".into());
        })
    };
    assert_eq!(tls_ca("redis://a:6379"), ["store.redis.tls_ca"]);
    assert_eq!(tls_ca("rediss://a:6379"), NONE);
}

#[test]
fn redis_timeouts_are_bounded() {
    for (timeout, wrong) in [
        (9 * MILLISECOND, true),
        (10 * MILLISECOND, false),
        (60 * SECOND, false),
        (61 * SECOND, true),
    ] {
        let found = problems(|it| redis(it).timeout = timeout);
        assert_eq!(found == ["store.redis.timeout"], wrong, "{timeout:?}");
    }
}

#[test]
fn the_backoff_grows_and_ends() {
    assert_eq!(problems(|it| it.backoff.tolerated_failures = 10), NONE);
    let tolerated = problems(|it| it.backoff.tolerated_failures = 11);
    assert_eq!(tolerated, ["backoff.tolerated_failures"]);
    let no_wait = problems(|it| it.backoff.initial = Duration::ZERO);
    assert_eq!(no_wait, ["backoff.initial"]);
    let too_long = problems(|it| it.backoff.initial = 3601 * SECOND);
    assert_eq!(too_long, ["backoff.initial"]);
    assert_eq!(problems(|it| it.backoff.maximum = 30 * DAY), NONE);
    let never_ends = problems(|it| it.backoff.maximum = 30 * DAY + MILLISECOND);
    assert_eq!(never_ends, ["backoff.maximum"]);
    let no_maximum = problems(|it| it.backoff.maximum = Duration::ZERO);
    assert!(no_maximum.contains(&"backoff.maximum".into()));
}

#[test]
fn a_hard_limit_comes_after_the_tolerated_failures() {
    for (hard_limit, wrong) in [(0, false), (1, true), (2, false), (100, false)] {
        let found = problems(|it| it.backoff.hard_limit = hard_limit);
        assert_eq!(found == ["backoff.hard_limit"], wrong, "{hard_limit}");
    }
}

#[test]
fn totp_parameters_are_what_apps_support() {
    for (digits, wrong) in [(0, true), (5, true), (6, false), (7, true), (8, false), (9, true)] {
        let found = problems(|it| it.totp.digits = digits);
        assert_eq!(found == ["totp.digits"], wrong, "{digits}");
    }
    for (window, wrong) in [(0, false), (2, false), (3, true)] {
        let found = problems(|it| it.totp.window = window);
        assert_eq!(found == ["totp.window"], wrong, "{window}");
    }
    for (period, wrong) in [
        (14 * SECOND, true),
        (15 * SECOND, false),
        (300 * SECOND, false),
        (301 * SECOND, true),
        (30_500 * MILLISECOND, true),
    ] {
        let found = problems(|it| it.totp.period = period);
        assert_eq!(found == ["totp.period"], wrong, "{period:?}");
    }
    let long = "i".repeat(64);
    for (issuer, wrong) in [
        ("Acme Shop", false),
        (long.as_str(), false),
        ("", true),
        ("Acme\n", true),
        ("Acme: Shop", true),
        (&"i".repeat(65), true),
    ] {
        let found = problems(|it| it.totp.issuer = issuer.into());
        assert_eq!(found == ["totp.issuer"], wrong, "{issuer:?}");
    }
}

#[test]
fn lifetimes_are_bounded() {
    for (lifetime, wrong) in
        [(Duration::ZERO, true), (MILLISECOND, false), (DAY, false), (DAY + MILLISECOND, true)]
    {
        let pending = problems(|it| it.enrollment.pending_lifetime = lifetime);
        assert_eq!(pending == ["enrollment.pending_lifetime"], wrong, "{lifetime:?}");
        let elevation = problems(|it| it.elevation.lifetime = lifetime);
        assert_eq!(elevation == ["elevation.lifetime"], wrong, "{lifetime:?}");
    }
    assert_eq!(problems(|it| it.enforcement.grace = 365 * DAY), NONE);
    let endless = problems(|it| it.enforcement.grace = 366 * DAY);
    assert_eq!(endless, ["enforcement.grace"]);
}

#[test]
fn names_in_lists_are_names() {
    let admins = problems(|it| it.admin.users = vec!["root".into(), "".into()]);
    assert_eq!(admins, ["admin.users"]);
    let users = problems(|it| it.login.basic_users = vec!["a\n".into()]);
    assert_eq!(users, ["login.basic_users"]);
    let resources = problems(|it| it.login.basic_resources = vec!["".into()]);
    assert_eq!(resources, ["login.basic_resources"]);
    let authorities = problems(|it| it.enforcement.authorities = vec!["".into()]);
    assert_eq!(authorities, ["enforcement.authorities"]);
}

#[test]
fn enforcement_needs_authorities() {
    for mode in [EnforcementMode::Report, EnforcementMode::Enforce] {
        let alone = problems(|it| it.enforcement.mode = mode);
        assert_eq!(alone, ["enforcement.authorities"]);
        let named = problems(|it| {
            it.enforcement.mode = mode;
            it.enforcement.authorities = vec!["ROLE_ADMIN".into()];
        });
        assert_eq!(named, NONE);
    }
}

#[test]
fn argon2_keeps_to_the_floor_and_under_the_ceiling() {
    for (memory_kib, iterations, wrong) in [
        (47104, 1, None),
        (47103, 1, Some("argon2.iterations")),
        (19456, 2, None),
        (19456, 1, Some("argon2.iterations")),
        (19455, 2, Some("argon2.iterations")),
        (12288, 3, None),
        (9216, 4, None),
        (7168, 5, None),
        (7168, 4, Some("argon2.iterations")),
        (7167, 5, Some("argon2.memory_kib")),
        (1_048_576, 20, None),
        (1_048_577, 2, Some("argon2.memory_kib")),
        (19456, 21, Some("argon2.iterations")),
    ] {
        let found = problems(|it| {
            it.argon2.memory_kib = memory_kib;
            it.argon2.iterations = iterations;
        });
        let wrong: Vec<&str> = wrong.into_iter().collect();
        assert_eq!(found, wrong, "{memory_kib} KiB, {iterations}");
    }
    for (parallelism, wrong) in [(0, true), (1, false), (16, false), (17, true)] {
        let found = problems(|it| it.argon2.parallelism = parallelism);
        assert_eq!(found == ["argon2.parallelism"], wrong, "{parallelism}");
    }
    for (concurrency, wrong) in [(0, true), (1, false), (1024, false), (1025, true)] {
        let found = problems(|it| it.argon2.concurrency = concurrency);
        assert_eq!(found == ["argon2.concurrency"], wrong, "{concurrency}");
    }
}

#[test]
fn each_caller_has_one_credential() {
    let one = |change: fn(&mut Caller)| {
        problems(|it| {
            let mut caller = caller();
            change(&mut caller);
            it.callers.push(caller);
        })
    };
    assert_eq!(one(|_| {}), NONE);
    assert_eq!(one(|it| it.name.clear()), ["caller[0].name"]);
    assert_eq!(one(|it| it.name = "a\nb".into()), ["caller[0].name"]);
    assert_eq!(one(|it| it.token_sha256 = None), ["caller[0].token_sha256"]);
    assert_eq!(one(|it| it.token_sha256 = Some("my-token".into())), ["caller[0].token_sha256"]);
    assert_eq!(
        one(|it| it.token_sha256 = Some(TOKEN_SHA256.replace('9', "g"))),
        ["caller[0].token_sha256"]
    );
    assert_eq!(one(|it| it.token_sha256 = Some(TOKEN_SHA256.to_uppercase())), NONE);
    assert_eq!(one(|it| it.roles.clear()), ["caller[0].roles"]);
    assert_eq!(one(|it| it.roles = vec![Role::Admin, Role::Operator]), NONE);
    assert_eq!(one(|it| it.namespace.clear()), ["caller[0].namespace"]);
    assert_eq!(one(|it| it.namespace = "n".repeat(64)), ["caller[0].namespace"]);
}

#[test]
fn a_certificate_is_a_credential_where_certificates_are_asked_for() {
    let san = |has_client_ca: bool, token_sha256: Option<&str>| {
        problems(|it| {
            tls(it);
            it.server.tls_client_ca = has_client_ca.then(|| "ca.pem".into());
            it.callers.push(Caller {
                san: Some("shop.internal".into()),
                token_sha256: token_sha256.map(str::to_owned),
                ..caller()
            });
        })
    };
    assert_eq!(san(true, None), NONE);
    assert_eq!(san(false, None), ["caller[0].san"]);
    assert_eq!(san(true, Some(TOKEN_SHA256)), ["caller[0].token_sha256"]);
}

#[test]
fn callers_share_no_credentials() {
    let second = |name: &str, token_sha256: &str| {
        problems(|it| {
            it.callers = vec![
                caller(),
                Caller { name: name.into(), token_sha256: Some(token_sha256.into()), ..caller() },
            ];
        })
    };
    let other = "0".repeat(64);
    assert_eq!(second("jobs", &other), NONE);
    assert_eq!(second("shop", &other), NONE, "as while a token is replaced");
    assert_eq!(second("jobs", &TOKEN_SHA256.to_uppercase()), ["caller[1].token_sha256"]);
}

#[test]
fn entries_of_one_name_have_the_same_rights() {
    let second = |change: fn(&mut Caller)| {
        problems(|it| {
            let mut second = Caller { token_sha256: Some("0".repeat(64)), ..caller() };
            change(&mut second);
            it.callers = vec![caller(), second];
        })
    };
    assert_eq!(second(|it| it.roles = vec![Role::Admin]), ["caller[1].name"]);
    assert_eq!(second(|it| it.namespace = "other".into()), ["caller[1].name"]);
}

#[test]
fn a_user_is_a_credential_on_a_socket() {
    let user = |listen: Listen, uid: u32| {
        problems(|it| {
            it.server.listen = listen;
            it.callers.push(Caller { token_sha256: None, uid: Some(uid), ..caller() });
        })
    };
    let socket = || Listen::Unix("twinlock.sock".into());
    assert_eq!(user(socket(), 1000), NONE);
    assert_eq!(user(socket(), 0), NONE);
    assert_eq!(user(Listen::Tcp("127.0.0.1:6238".into()), 1000), ["caller[0].uid"]);
    assert_eq!(user(socket(), 65534), ["caller[0].uid"]);
}

#[test]
fn names_of_certificates_are_single_and_differ() {
    let names = |names: &[&str]| {
        problems(|it| {
            tls(it);
            it.server.tls_client_ca = Some("ca.pem".into());
            let named = |name: &&str| Caller {
                token_sha256: None,
                san: Some((*name).to_owned()),
                ..caller()
            };
            it.callers = names.iter().map(named).collect();
        })
    };
    assert_eq!(names(&["shop.internal", "spiffe://a/b", "spiffe://a/B"]), NONE);
    assert_eq!(names(&["shop.internal", "Shop.Internal"]), ["caller[1].san"]);
    assert_eq!(names(&["*.internal"]), ["caller[0].san"]);
}

#[test]
fn break_glass_and_settings_without_effect_are_warnings() {
    let legacy = |it: &mut Config| it.login.mode = LoginMode::Legacy;
    assert_eq!(problems(legacy), NONE);
    assert_eq!(warnings(legacy), ["login.mode"]);
    let unused = warnings(|it| it.store.redis.urls = vec!["redis://a:6379".into()]);
    assert_eq!(unused, ["store.redis.urls"]);
    let nobody_confirms = warnings(|it| redis(it).acknowledge_verify = true);
    assert_eq!(nobody_confirms, ["store.redis.acknowledge_verify"]);
    assert_eq!(
        warnings(|it| {
            redis(it).acknowledge_verify = true;
            it.store.redis.acknowledging_replicas = 1;
        }),
        NONE
    );
}
