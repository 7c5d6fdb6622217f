//! What is asked of a server before it is trusted with a record.

use redis::{Pipeline, Value, cmd};

/// The oldest Redis that will do: scripts that say what they are, and expiry times in SET.
const OLDEST: (u32, u32) = (7, 0);
/// The first with WAITAOF.
const WITH_WAITAOF: (u32, u32) = (7, 2);

/// What is known of a server that may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether it can tell when a write is on the disk, its own and its replicas'.
    pub(super) tells_of_disks: bool,
    /// How many replicas follow it.
    pub(super) replicas: u32,
    /// What an operator should mend.
    pub(super) warnings: Vec<String>,
}

/// What a server is asked.
pub(super) fn questions() -> Pipeline {
    let mut questions = Pipeline::new();
    questions.add_command(cmd("INFO"));
    questions.add_command(cmd("ROLE"));
    let mut settings = cmd("CONFIG");
    settings.arg("GET").arg("maxmemory-policy").arg("save").arg("appendfsync");
    questions.add_command(settings);
    questions
}

/// What the answers say; the error says why the server cannot be used, and what mends that.
pub(super) fn facts(answers: &[Value], is_cluster: bool) -> Result<Facts, String> {
    let [info, role, settings] = answers else {
        return Err("it answered something else".into());
    };
    if let Value::ServerError(error) = info
        && matches!(error.code(), "NOAUTH" | "LOADING")
    {
        return Err(error.to_string());
    }
    judge(&text(info), role, &pairs(settings), is_cluster)
}

/// `info` is empty where the user may not ask for it, and `settings` likewise.
fn judge(
    info: &str,
    role: &Value,
    settings: &[(String, String)],
    is_cluster: bool,
) -> Result<Facts, String> {
    let told = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let setting =
        |name: &str| settings.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if told("loading") == Some("1") {
        return Err("it is still loading its data".into());
    }
    let version = told("redis_version").and_then(parse_version);
    if version.is_some_and(|version| version < OLDEST) {
        return Err(format!(
            "it is Redis {}; Twinlock needs Redis {}.{} or Valkey",
            told("redis_version").unwrap_or_default(),
            OLDEST.0,
            OLDEST.1,
        ));
    }
    // Valkey calls it server_mode.
    match (told("redis_mode").or(told("server_mode")), is_cluster) {
        (Some("cluster"), false) => {
            return Err("it is a node of a Cluster; set store.redis.mode to cluster".into());
        }
        (Some("standalone"), true) => {
            return Err("it is no node of a Cluster; set store.redis.mode to standalone or \
                        sentinel"
                .into());
        }
        (Some("sentinel"), _) => {
            return Err("it is a sentinel; set store.redis.mode to sentinel".into());
        }
        _ => {}
    }
    let role = match role {
        Value::Array(parts) => parts.first().map(text),
        _ => None,
    };
    if matches!(role.as_deref().or(told("role")), Some("slave" | "replica")) {
        return Err("it is a replica; name its primary, or set store.redis.mode to sentinel".into());
    }

    let mut warnings = Vec::new();
    match told("maxmemory_policy").or(setting("maxmemory-policy")) {
        Some("noeviction") => {}
        Some(policy) => {
            return Err(format!(
                "its eviction policy is {policy}, which would delete records when memory runs out: \
                 run `CONFIG SET maxmemory-policy noeviction` there, and set the same in its \
                 configuration file"
            ));
        }
        None => warnings.push(
            "it does not tell its eviction policy (the user may run neither INFO nor CONFIG GET): \
             make sure that maxmemory-policy is noeviction"
                .into(),
        ),
    }
    let keeps_log = told("aof_enabled").map(|value| value == "1");
    if keeps_log == Some(false) {
        warnings.push(match setting("save") {
            Some("") => "PERSISTENCE IS OFF: when it stops, every enrollment is lost. Run \
                         `CONFIG SET appendonly yes` there, and set the same in its configuration \
                         file"
                .into(),
            _ => "it keeps no append-only file: after a crash it has forgotten used codes, \
                  failures and enrollments since its last snapshot. Run `CONFIG SET appendonly yes` \
                  there, and set the same in its configuration file"
                .to_owned(),
        });
    } else if setting("appendfsync") == Some("no") {
        warnings.push(
            "its append-only file is never synced (appendfsync no): set it to always or everysec"
                .into(),
        );
    }
    Ok(Facts {
        tells_of_disks: keeps_log == Some(true)
            && version.is_some_and(|version| version >= WITH_WAITAOF),
        replicas: told("connected_slaves").and_then(|count| count.parse().ok()).unwrap_or(0),
        warnings,
    })
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// An answer as text; empty where it is none.
pub(super) fn text(answer: &Value) -> String {
    match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.clone(),
        _ => String::new(),
    }
}

/// An answer as names and values in turn; empty where it is none.
pub(super) fn pairs(answer: &Value) -> Vec<(String, String)> {
    match answer {
        Value::Array(parts) => {
            parts.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
        }
        Value::Map(parts) => parts.iter().map(|(name, value)| (text(name), text(value))).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "redis_version:7.2.4\r\nredis_mode:standalone\r\nloading:0\r\n\
                         maxmemory_policy:noeviction\r\naof_enabled:1\r\nrole:master\r\n\
                         connected_slaves:2\r\n";

    fn of(info: &str) -> Result<Facts, String> {
        judge(info, &Value::Nil, &[], false)
    }

    fn with(from: &str, to: &str) -> Result<Facts, String> {
        assert!(RIGHT.contains(from));
        of(&RIGHT.replace(from, to))
    }

    fn settings(save: &str) -> Vec<(String, String)> {
        vec![("save".into(), save.into()), ("maxmemory-policy".into(), "noeviction".into())]
    }

    #[test]
    fn a_server_that_will_do() {
        let facts = Facts { tells_of_disks: true, replicas: 2, warnings: Vec::new() };
        assert_eq!(of(RIGHT), Ok(facts));
        assert!(!with("7.2.4", "7.0.15").expect("a server").tells_of_disks);
        assert!(with("redis_mode", "server_mode").is_ok(), "as Valkey has it");
    }

    #[test]
    fn a_server_that_will_not_do_says_what_mends_it() {
        for (from, to, remedy) in [
            ("noeviction", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction"),
            ("noeviction", "volatile-ttl", "CONFIG SET maxmemory-policy noeviction"),
            ("7.2.4", "6.2.14", "needs Redis 7.0"),
            ("redis_mode:standalone", "redis_mode:cluster", "set store.redis.mode to cluster"),
            ("redis_mode:standalone", "server_mode:cluster", "set store.redis.mode to cluster"),
            ("redis_mode:standalone", "redis_mode:sentinel", "set store.redis.mode to sentinel"),
            ("role:master", "role:slave", "name its primary"),
            ("loading:0", "loading:1", "still loading"),
        ] {
            let refused = with(from, to).expect_err(to);
            assert!(refused.contains(remedy), "{refused}");
        }
        let refused = judge(RIGHT, &Value::Nil, &[], true).expect_err("no Cluster");
        assert!(refused.contains("standalone or sentinel"), "{refused}");
        let role = Value::Array(vec![Value::BulkString(b"slave".to_vec())]);
        assert!(judge("", &role, &[], false).is_err());
    }

    #[test]
    fn what_may_be_lost_is_warned_about() {
        let off = RIGHT.replace("aof_enabled:1", "aof_enabled:0");
        let warned = |save: &str| {
            let facts = judge(&off, &Value::Nil, &settings(save), false).expect("a server");
            assert!(!facts.tells_of_disks);
            facts.warnings.join("\n")
        };
        assert!(warned("").starts_with("PERSISTENCE IS OFF"));
        assert!(warned("3600 1").contains("since its last snapshot"));
        let never = [("appendfsync".to_owned(), "no".to_owned())];
        let facts = judge(RIGHT, &Value::Nil, &never, false).expect("a server");
        assert!(facts.warnings[0].contains("never synced"));
    }

    #[test]
    fn a_server_that_tells_nothing_is_used_with_a_warning() {
        let facts = of("").expect("a server");
        assert!(facts.warnings[0].contains("does not tell its eviction policy"));
        assert!(!facts.tells_of_disks);
        let facts = judge("", &Value::Nil, &settings("3600 1"), false).expect("a server");
        assert_eq!(facts.warnings, [""; 0]);
        let evicting = [("maxmemory-policy".to_owned(), "allkeys-lfu".to_owned())];
        assert!(judge("", &Value::Nil, &evicting, false).is_err());
    }
}
