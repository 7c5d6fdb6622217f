//! Every reason that a failed call can give is given to some test, and the rare ones to those here.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;
use twinlock_core::login::Ground;
use twinlock_core::{Namespace, Reason, UserId};
use twinlock_engine::clock;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::store::embedded::Embedded;
use twinlock_engine::store::{Durability, RecordKey, Store, Swap, Swapped, Version};
use twinlock_tests::redis::{Program, Server as Redis};
use twinlock_tests::scenario::{self, End, Grpc, Reasons, Refusal, Runner, Scenario};
use twinlock_tests::{Options, Server, User};

/// Reasons that no scenario can bring about, with the test in this file that does.
const BY_TESTS: &[(Reason, &str)] = &[
    (Reason::Overloaded, "a_flood_of_passwords_is_turned_away_and_costs_no_attempt"),
    (Reason::StoreUnavailable, "a_store_that_does_not_answer_is_unavailable"),
    (Reason::StoreIncomplete, "a_store_that_is_not_the_one_that_was_initialized_says_so"),
    (Reason::SecretUnreadable, "a_record_under_another_users_key_is_unreadable"),
];

#[test]
fn every_reason_is_produced_by_a_test() {
    let source = include_str!("reasons.rs");
    let mut produced: BTreeSet<&str> = BTreeSet::new();
    for (reason, test) in BY_TESTS {
        let body = source.split_once(&format!("fn {test}()")).expect("the test is here").1;
        let body = body.split("\n}\n").next().unwrap_or_default();
        assert!(
            body.contains(&format!("{:?}", reason.as_str())),
            "{test} does not expect {reason}"
        );
        assert!(produced.insert(reason.as_str()), "{reason} is listed twice");
    }
    let scenarios = scenarios();
    let by_scenarios: BTreeSet<&str> = refusals(&scenarios).collect();
    for reason in &produced {
        assert!(!by_scenarios.contains(reason), "{reason} is in a scenario and need not be listed");
    }
    produced.extend(by_scenarios);
    let all: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(produced, all);
}

#[test]
fn the_table_has_every_reason() {
    let table = Reasons::read().expect("the table");
    let table: BTreeSet<&str> = table.all().map(|(reason, _)| reason).collect();
    let all: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(table, all);
}

#[test]
fn the_table_of_rules_names_every_scenario_and_no_other() {
    let page = include_str!("../scenarios/README.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let last = rows.filter_map(|row| row.trim_end_matches(" |").rsplit('|').next());
    let named: BTreeSet<&str> = last.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let scenarios = scenarios();
    let all: BTreeSet<&str> = scenarios.iter().map(|scenario| &*scenario.name).collect();
    assert_eq!(named, all);
}

#[test]
fn scenarios_call_every_method_and_expect_every_decision_on_a_login() {
    let scenarios = scenarios();
    let methods: BTreeSet<String> =
        scenarios.iter().flat_map(Scenario::calls).map(|call| call.method.clone()).collect();
    let admin = ["UnenrollUser", "ClearBackoff", "ImportEnrollment", "EraseUser", "ResetUser"];
    let all = scenario::methods("TwoStepService").into_iter().chain(admin.map(str::to_owned));
    for method in all {
        assert!(methods.contains(&method), "no scenario calls {method}");
    }
    let expected: BTreeSet<&str> = scenarios
        .iter()
        .flat_map(Scenario::calls)
        .filter(|call| call.method == "EvaluateLogin")
        .flat_map(|call| &call.outcomes)
        .filter_map(|outcome| match &outcome.end {
            End::Answer(fields) => fields.get("reason").and_then(Value::as_str),
            End::Refused { .. } => None,
        })
        .collect();
    let all: BTreeSet<&str> = Ground::ALL.iter().map(|ground| ground.as_str()).collect();
    assert_eq!(expected, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_passwords_is_turned_away_and_costs_no_attempt() {
    let options = Options::default().set("argon2.concurrency=1").set("server.deadline=1s");
    let server = Server::start(options);
    let grpc = Grpc::connect(&server).await.expect("a connection");
    let mut calls = JoinSet::new();
    for n in 0..100 {
        let grpc = grpc.clone();
        let user = format!("user {n}");
        let request = json!({ "userId": user, "sessionId": "laptop", "password": {
            "password": "correct horse battery staple",
            "passwordHash": "$argon2id$v=19$m=65536,t=3,p=4$AmL424/zOaMi8SnchRdw9g$NcECW37NNPHEpx+h9XvOatytUH61e4sAYC0w67mswLo",
        }});
        calls.spawn(async move { (user, call(&grpc, "Elevate", &request).await) });
    }
    let mut turned_away = 0;
    for (user, end) in calls.join_all().await {
        let Err(refusal) = end else { continue };
        assert_eq!(refusal.reason, "OVERLOADED", "{refusal:?}");
        turned_away += 1;
        let description = call(&grpc, "DescribeUser", &json!({ "userId": user })).await;
        let description = description.expect("a description");
        assert_eq!(description["passwordBackoff"]["failures"], 0);
    }
    assert!(turned_away > 0, "a hundred hashes had their turn within a second");
    assert!(turned_away < 100, "nobody had a turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_is_unavailable() {
    let mut redis = Redis::start(Program::Redis, &[]);
    let server = Server::start(Options::default().over_redis(&redis.url()));
    redis.kill();
    for (method, refusal) in refusals_of_all_kinds(&server).await {
        assert_eq!(refusal.reason, "STORE_UNAVAILABLE", "{method}: {refusal:?}");
    }
}

/// That is what it is for. It opens the login alone: nothing that needs the store is taken for granted.
#[tokio::test(flavor = "multi_thread")]
async fn legacy_mode_lets_users_in_without_the_store() {
    let mut redis = Redis::start(Program::Redis, &[]);
    let legacy = Options::default().over_redis(&redis.url()).set("login.mode=legacy");
    let server = Server::start(legacy);
    let grpc = Grpc::connect(&server).await.expect("a connection");
    redis.kill();
    for (channel, decision, ground) in [
        ("LOGIN_CHANNEL_FORM", "DECISION_ALLOW", "LEGACY_LOGIN"),
        ("LOGIN_CHANNEL_RECOVERY_ADMIN", "DECISION_ALLOW", "LEGACY_LOGIN"),
        ("LOGIN_CHANNEL_BASIC", "DECISION_DENY", "BASIC_NOT_PROTECTED"),
    ] {
        let login = json!({ "userId": "alice", "channel": channel });
        let owed = call(&grpc, "EvaluateLogin", &login).await.expect(channel);
        assert_eq!((&owed["decision"], &owed["reason"]), (&json!(decision), &json!(ground)));
    }
    let code = json!({ "userId": "alice", "totpCode": "123456" });
    let refusal = call(&grpc, "Verify", &code).await.expect_err("there is nothing to check it by");
    assert_eq!(refusal.reason, "STORE_UNAVAILABLE", "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_the_one_that_was_initialized_says_so() {
    let redis = Redis::start(Program::Redis, &[]);
    let server = Server::start(Options::default().over_redis(&redis.url()));
    redis.command("FLUSHALL");
    for (method, refusal) in refusals_of_all_kinds(&server).await {
        assert_eq!(refusal.reason, "STORE_INCOMPLETE", "{method}: {refusal:?}");
    }
}

#[tokio::test]
async fn a_record_under_another_users_key_is_unreadable() {
    let mut server = Server::start_default();
    let alice = User::enroll(&mut server.client().await, "alice").await;
    assert!(server.stop().success());
    let directory = server.directory().join("twinlock-data");
    copy_record(&directory, "alice", "mallory").await;

    let server = server.restart();
    let grpc = Grpc::connect(&server).await.expect("a connection");
    let calls = [
        ("DescribeUser", json!({ "userId": "mallory" })),
        ("Verify", json!({ "userId": "mallory", "totpCode": alice.code(1) })),
        ("Verify", json!({ "userId": "mallory", "recoveryKey": alice.recovery_key })),
        ("EvaluateLogin", json!({ "userId": "mallory", "channel": "LOGIN_CHANNEL_FORM" })),
        ("SetPassword", json!({ "userId": "mallory", "password": "correct horse" })),
    ];
    for (method, request) in &calls {
        let refusal = call(&grpc, method, request).await.expect_err(method);
        assert_eq!(refusal.reason, "SECRET_UNREADABLE", "{method}: {refusal:?}");
    }
    let alice = json!({ "userId": "alice", "totpCode": alice.code(1) });
    call(&grpc, "Verify", &alice).await.expect("the rightful owner is not concerned");
}

/// Calls one method of each kind: those that read, that present a proof, that hash, and that write.
async fn refusals_of_all_kinds(server: &Server) -> Vec<(&'static str, Refusal)> {
    let grpc = Grpc::connect(server).await.expect("a connection");
    let calls = [
        ("DescribeUser", json!({ "userId": "alice" })),
        ("CheckElevation", json!({ "userId": "alice", "sessionId": "laptop" })),
        ("EvaluateLogin", json!({ "userId": "alice", "channel": "LOGIN_CHANNEL_FORM" })),
        ("Verify", json!({ "userId": "alice", "totpCode": "123456" })),
        ("Enroll", json!({ "userId": "alice", "sessionId": "laptop" })),
        ("SetPassword", json!({ "userId": "alice", "password": "correct horse" })),
        (
            "Elevate",
            json!({ "userId": "alice", "sessionId": "laptop", "password": { "password": "x" } }),
        ),
    ];
    let mut refusals = Vec::new();
    for (method, request) in calls {
        refusals.push((method, call(&grpc, method, &request).await.expect_err(method)));
    }
    refusals
}

/// Writes one user's record under another's key, as whoever can write to the store may do.
async fn copy_record(directory: &Path, from: &str, to: &str) {
    let store = Embedded::open(directory, clock::system()).expect("the store");
    let deadline = Deadline::after(Duration::from_secs(10));
    let key = |user| RecordKey {
        namespace: Namespace::default(),
        user: UserId::parse(user).expect("a user"),
    };
    let loaded = store.load(&key(from), deadline).await.expect("a load");
    let (_, bytes) = loaded.record.expect("a record");
    let swap = Swap {
        key: key(to),
        expected: None,
        version: Version([1; 16]),
        bytes: Some(bytes),
        expire_at: None,
        durability: Durability::Enrollment,
        decided_at: None,
    };
    assert_eq!(store.swap(swap, deadline).await.expect("a swap"), Swapped::Done);
}

/// Calls a method, and checks what every refusal must say.
async fn call(grpc: &Grpc, method: &str, request: &Value) -> Result<Value, Refusal> {
    let fields: Map<String, Value> = request.as_object().expect("fields").clone();
    let end = grpc.call(method, None, fields).await.expect("an interface that keeps its promises");
    end.inspect_err(|refusal| refusal.check().expect("a refusal as in the table"))
}

fn scenarios() -> Vec<Scenario> {
    let files = Scenario::files().expect("scenario files");
    files.iter().map(|path| Scenario::read(path).expect("a scenario")).collect()
}

fn refusals(scenarios: &[Scenario]) -> impl Iterator<Item = &str> {
    let outcomes = scenarios.iter().flat_map(Scenario::calls).flat_map(|call| &call.outcomes);
    outcomes.filter_map(|outcome| match &outcome.end {
        End::Refused { reason, .. } => Some(reason.as_str()),
        End::Answer(_) => None,
    })
}
