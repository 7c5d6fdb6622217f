//! Three server processes over one Redis are as exact as a single one.

use prost_types::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Status;
use twinlock_proto::v1::{
    CheckElevationRequest, Decision, DropElevationRequest, Elevation, EvaluateLoginRequest,
    LoginChannel, VerifyRequest,
};
use twinlock_tests::over_redis::Replicas;
use twinlock_tests::redis::until;
use twinlock_tests::{Client, Options, User, calm_step, now, reason, retry_after};

/// How far two looks at one clock may lie apart: milliseconds are cut off on both.
const TICK: u64 = 5;

/// One failure is tolerated and the next blocks for longer than any test takes.
fn one_tolerated() -> Options {
    Options::default().set("backoff.initial=1h").set("server.deadline=30s")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schedule_is_that_of_a_single_process() {
    let settings = Options::default().set("backoff.initial=400ms").set("backoff.maximum=1s");
    let replicas = Replicas::start(settings);
    let mut clients = replicas.connect(3).await;
    let user = User::enroll(&mut clients[0], "alice").await;
    for (failure, wait) in [(1, 0), (2, 400), (3, 800), (4, 1000), (5, 1000)] {
        // Each failure is another process's than the one before.
        clients.rotate_left(1);
        let before = now().as_millis();
        let failed = refusal(clients[0].verify(user.verify(user.wrong_code())).await);
        let after = now().as_millis();
        assert_eq!(reason(&failed), "INVALID_CODE", "failure {failure}");
        let mut last = Duration::ZERO;
        for client in &mut clients {
            assert_eq!(user.failures(client).await, failure);
            let Some(until) = blocked_until(&user, client).await else {
                assert_eq!(wait, 0, "failure {failure}");
                continue;
            };
            assert!(before + wait <= until + TICK, "failure {failure}");
            assert!(until <= after + wait + TICK, "failure {failure}");
            for code in [user.wrong_code(), user.code(0)] {
                let status = refusal(client.verify(user.verify(code)).await);
                assert_eq!(reason(&status), "BACKOFF", "failure {failure}");
                last = retry_after(&status).expect("a wait");
            }
        }
        assert!(last <= Duration::from_millis(wait), "{last:?}");
        // As long as the last refusal says, and not a moment longer.
        sleep(last).await;
    }
    let right = clients[1].verify(user.verify(user.code(0))).await;
    right.expect("refusals within a block neither count nor use a code up");
    for client in &mut clients {
        assert_eq!(user.failures(client).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_300_guesses_at_once_the_schedule_evaluates_two() {
    let replicas = Replicas::start(one_tolerated());
    let clients = replicas.connect(6).await;
    let user = User::enroll(&mut clients[0].clone(), "alice").await;
    let answers = storm(&clients, vec![user.verify(user.wrong_code()); 300]).await;
    assert_eq!(answers.counts(), counts([("INVALID_CODE", 2), ("BACKOFF", 298)]));
    for mut client in clients {
        assert_eq!(user.failures(&mut client).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_that_go_on_for_seconds_keep_the_schedule() {
    let replicas = Replicas::start(Options::default().set("backoff.initial=50ms"));
    let clients = replicas.connect(6).await;
    let user = User::enroll(&mut clients[0].clone(), "alice").await;
    let begin = Instant::now();
    let mut all = Answers { begin, ends: Vec::new() };
    while begin.elapsed() < Duration::from_secs(2) {
        all.ends.extend(storm(&clients, vec![user.verify(user.wrong_code()); 60]).await.ends);
    }
    all.keep_the_schedule(Duration::from_millis(50));
    let failures = all.count("INVALID_CODE");
    // 50, 100, 200, 400, 800 ms after the second failure; the next would be 1.6 s later.
    assert!((6..=8).contains(&failures), "{:?}", all.counts());
    assert_eq!(user.failures(&mut clients[0].clone()).await, failures as u32);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_code_300_times_is_accepted_once() {
    let replicas = Replicas::start(one_tolerated());
    let clients = replicas.connect(6).await;
    calm_step(Duration::from_secs(8)).await;
    let user = User::enroll(&mut clients[0].clone(), "alice").await;
    let answers = storm(&clients, vec![user.verify(user.code(0)); 300]).await;
    let expected = counts([("OK", 1), ("CODE_ALREADY_USED", 2), ("BACKOFF", 297)]);
    assert_eq!(answers.counts(), expected);
    for mut client in clients {
        assert_eq!(user.failures(&mut client).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_key_100_times_brings_one_new_key_and_only_that_works() {
    let replicas = Replicas::start(Options::default().set("server.deadline=30s"));
    let mut clients = replicas.connect(3).await;
    let user = User::enroll(&mut clients[0], "alice").await;
    let answers = storm(&clients, vec![user.redeem(&*user.recovery_key); 100]).await;
    assert_eq!(answers.count("OK"), 1, "{:?}", answers.counts());
    answers.keep_the_schedule(Duration::from_secs(1));
    let failures = answers.count("INVALID_CODE");
    assert_eq!(answers.count("BACKOFF"), 99 - failures, "{:?}", answers.counts());
    assert_eq!(user.failures(&mut clients[1]).await, failures as u32);
    let keys = answers.keys();

    unblocked(&user, &mut clients[0]).await;
    let old = refusal(clients[1].verify(user.redeem(&*user.recovery_key)).await);
    assert_eq!(reason(&old), "INVALID_CODE");
    unblocked(&user, &mut clients[0]).await;
    clients[2].verify(user.redeem(&keys[0])).await.expect("the new key works");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_newly_has_to_enroll_is_notified_of_once() {
    let enforced = Options::default()
        .set("enforcement.mode=enforce")
        .set("enforcement.authorities=system-admin")
        .set("server.deadline=30s");
    let replicas = Replicas::start(enforced);
    let clients = replicas.connect(6).await;
    for user in ["alice", "bob", "carol"] {
        let mut calls = JoinSet::new();
        for n in 0..90 {
            let mut client = clients[n % clients.len()].clone();
            let request = EvaluateLoginRequest {
                user_id: user.into(),
                authorities: vec!["system-admin".into()],
                channel: LoginChannel::Form.into(),
                ..Default::default()
            };
            calls.spawn(async move { client.evaluate_login(request).await });
        }
        let mut notices = 0;
        for answer in calls.join_all().await {
            let answer = answer.expect("an answer").into_inner();
            assert_eq!(answer.decision(), Decision::Enroll);
            assert_eq!(answer.reason, "ENFORCED");
            notices += usize::from(answer.notify);
        }
        assert_eq!(notices, 1, "{user}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_gets_the_same_answer_everywhere() {
    let replicas = Replicas::start(one_tolerated());
    let clients = replicas.connect(3).await;
    let user = User::enroll(&mut clients[0].clone(), "alice").await;
    let with_id = |mut request: VerifyRequest, id: &str| {
        request.request_id = id.into();
        request
    };
    let redeem = with_id(user.redeem(&*user.recovery_key), "this redeems the key");
    let first = clients[0].clone().verify(redeem.clone()).await.expect("a new key").into_inner();
    for client in &clients {
        let again = client.clone().verify(redeem.clone()).await.expect("a repeat").into_inner();
        assert_eq!(again, first);
    }
    // All at once, before there is an answer.
    let redeem = with_id(user.redeem(&*first.recovery_key), "this redeems the next");
    let answers = storm(&clients, vec![redeem.clone(); 99]).await;
    assert_eq!(answers.counts(), counts([("OK", 99)]));
    let keys = answers.keys();
    assert!(keys.iter().all(|key| *key == keys[0] && *key != first.recovery_key));

    // A refusal is remembered, too, and counted once.
    let wrong = with_id(user.verify(user.wrong_code()), "this is a wrong code");
    let answers = storm(&clients, vec![wrong; 99]).await;
    assert_eq!(answers.counts(), counts([("INVALID_CODE", 99)]));
    assert_eq!(user.failures(&mut clients[1].clone()).await, 1);
    let other = with_id(user.verify(user.wrong_code()), "this redeems the next");
    let reused = refusal(clients[2].clone().verify(other).await);
    assert_eq!(reason(&reused), "REQUEST_ID_REUSED");

    // The user is blocked now, for the misuse of an id counts; the answer is still there.
    for client in &clients {
        let blocked = refusal(client.clone().verify(user.verify(user.code(1))).await);
        assert_eq!(reason(&blocked), "BACKOFF");
        let again = client.clone().verify(redeem.clone()).await.expect("a repeat").into_inner();
        assert_eq!(again.recovery_key, keys[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_90_seconds_apart_change_no_answer() {
    const LIFETIME: Duration = Duration::from_secs(4);
    const BLOCK: Duration = Duration::from_secs(2);
    let settings = Options::default()
        .set("elevation.lifetime=4s")
        .set("backoff.tolerated_failures=4")
        .set("backoff.initial=2s");
    let replicas =
        Replicas::start_each([0, 90, -90].map(|seconds| settings.clone().clock_ahead(seconds)));
    for (server, ahead) in replicas.servers.iter().zip([0, 90, -90]) {
        // The first line of the log may come after what is printed.
        let mut time = None;
        until(
            || {
                let log = server.log();
                time = log
                    .split_whitespace()
                    .filter_map(|word| word.parse::<Timestamp>().ok())
                    .next_back();
                time.is_some()
            },
            "a line with a time in the log",
        );
        let (time, log) = (time.expect("a time"), server.log());
        let off = time.seconds - present().seconds - ahead;
        assert!(off.abs() < 30, "the clock of this server is not what it is to be: {log}");
    }
    let clients = replicas.connect(3).await;
    calm_step(Duration::from_secs(20)).await;
    let mut tests = JoinSet::new();
    for first in 0..3 {
        let mut clients = clients.clone();
        clients.rotate_left(first);
        tests.spawn(async move {
            let user = User::enroll(&mut clients[1], &format!("user-{first}")).await;
            let [here, ..] = &mut clients[..] else { panic!("no clients") };

            // Codes: the window is the same for all.
            for offset in [3, -3, 2, -2] {
                let far = refusal(here.verify(user.verify(user.code(offset))).await);
                assert!(["INVALID_CODE", "CODE_ALREADY_USED"].contains(&&*reason(&far)), "{far}");
            }
            here.verify(user.verify(user.code(0))).await.expect("the present code");
            let mut waits = Vec::new();
            for client in &mut clients {
                let used = refusal(client.verify(user.verify(user.code(0))).await);
                assert_eq!(reason(&used), "CODE_ALREADY_USED");
                waits.push(retry_after(&used).expect("a wait"));
            }
            assert!(waits[0] >= waits[2] && waits[0] - waits[2] < Duration::from_secs(4));
            assert!(waits[0] < Duration::from_secs(30), "{waits:?}");

            // Elevations: they begin and end at the same time for all.
            let session = "session";
            let begun = Instant::now();
            let elevate = user.elevate(session, user.code(1));
            let elevation = clients[0].elevate(elevate).await.expect("the next code").into_inner();
            let elevation = elevation.elevation.expect("an elevation");
            let skew = elevation.elevate_time.expect("a time").seconds - present().seconds;
            assert!(skew.abs() <= 2, "{skew} s");
            for client in &mut clients {
                assert_eq!(check(client, &user, session).await.expect("it lives"), elevation);
                assert_eq!(login(client, &user).await, "ENROLLED");
            }

            // Blocks: they end at the same moment for all.
            for _ in 0..5 {
                let wrong = user.verify(user.wrong_code());
                assert_eq!(reason(&refusal(clients[0].verify(wrong).await)), "INVALID_CODE");
            }
            let until = blocked_until(&user, &mut clients[0]).await.expect("a block");
            assert!(until <= now().as_millis() + BLOCK.as_millis() as u64 + TICK);
            for client in &mut clients {
                assert_eq!(blocked_until(&user, client).await, Some(until));
                let blocked = refusal(client.verify(user.verify(user.wrong_code())).await);
                assert_eq!(reason(&blocked), "BACKOFF");
                let wait = retry_after(&blocked).expect("a wait").as_millis() as u64;
                let left = until.saturating_sub(now().as_millis());
                assert!(left <= wait + TICK && wait <= left + 1000, "{wait} ms, {left} ms");
            }
            sleep(Duration::from_millis(until.saturating_sub(now().as_millis()) + TICK)).await;
            let evaluated = refusal(clients[2].verify(user.verify(user.wrong_code())).await);
            assert_eq!(reason(&evaluated), "INVALID_CODE");

            sleep(LIFETIME.saturating_sub(begun.elapsed()) + Duration::from_millis(500)).await;
            for client in &mut clients {
                let over = check(client, &user, session).await.expect_err("it has ended");
                assert_eq!(reason(&over), "ELEVATION_REQUIRED");
            }

            // Receipts: nobody takes them for lapsed or for those of the future.
            while blocked_until(&user, &mut clients[0]).await.is_some() {
                sleep(Duration::from_millis(100)).await;
            }
            let mut redeem = user.redeem(&*user.recovery_key);
            redeem.request_id = "the id of one request".into();
            let new = clients[1].verify(redeem.clone()).await.expect("a new key").into_inner();
            for client in &mut clients {
                let again = client.verify(redeem.clone()).await.expect("a repeat").into_inner();
                assert_eq!(again, new);
            }
        });
    }
    while let Some(ended) = tests.join_next().await {
        ended.expect("no difference");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elevation_is_seen_and_dropped_everywhere() {
    let replicas = Replicas::start(Options::default());
    let mut clients = replicas.connect(3).await;
    let user = User::enroll(&mut clients[0], "alice").await;
    clients[0].elevate(user.elevate("s", user.code(1))).await.expect("an elevation");
    for round in 0..3 {
        clients.rotate_left(1);
        for client in &mut clients {
            assert!(check(client, &user, "s").await.is_ok(), "round {round}");
            assert!(check(client, &user, "t").await.is_err());
        }
    }
    let drop = DropElevationRequest {
        user_id: user.id.clone(),
        session_id: "s".into(),
        all_sessions: false,
    };
    clients[1].drop_elevation(drop).await.expect("dropped");
    for client in &mut clients {
        let gone = check(client, &user, "s").await.expect_err("dropped");
        assert_eq!(reason(&gone), "ELEVATION_REQUIRED");
    }
}

fn refusal<T>(answer: Result<T, Status>) -> Status {
    answer.err().expect("a refusal")
}

fn present() -> Timestamp {
    Timestamp { seconds: i64::try_from(now().as_secs()).expect("seconds"), nanos: 0 }
}

async fn check(client: &mut Client, user: &User, session: &str) -> Result<Elevation, Status> {
    let request = CheckElevationRequest {
        user_id: user.id.clone(),
        session_id: session.into(),
        max_age: None,
    };
    let answer = client.check_elevation(request).await?;
    Ok(answer.into_inner().elevation.expect("an elevation"))
}

async fn login(client: &mut Client, user: &User) -> String {
    let request = EvaluateLoginRequest {
        user_id: user.id.clone(),
        channel: LoginChannel::Form.into(),
        ..Default::default()
    };
    client.evaluate_login(request).await.expect("a decision").into_inner().reason
}

/// In milliseconds since the Unix epoch.
async fn blocked_until(user: &User, client: &mut Client) -> Option<u64> {
    let backoff = user.describe(client).await.second_factor_backoff.expect("a counter");
    let until = backoff.blocked_until?;
    let seconds = u64::try_from(until.seconds).expect("a time of today");
    Some(seconds * 1000 + u64::try_from(until.nanos / 1_000_000).expect("a part of a second"))
}

async fn unblocked(user: &User, client: &mut Client) {
    while blocked_until(user, client).await.is_some() {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Sends all calls at once, over all connections.
async fn storm(clients: &[Client], calls: Vec<VerifyRequest>) -> Answers {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for (n, request) in calls.into_iter().enumerate() {
        let mut client = clients[n % clients.len()].clone();
        tasks.spawn(async move {
            let answer = client.verify(request).await;
            (Instant::now(), answer.map(|answer| answer.into_inner().recovery_key))
        });
    }
    Answers { begin, ends: tasks.join_all().await }
}

fn counts<const N: usize>(counts: [(&str, usize); N]) -> HashMap<String, usize> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// What came back and when: the recovery key of each success (empty where there was none), or the failure.
struct Answers {
    begin: Instant,
    ends: Vec<(Instant, Result<String, Status>)>,
}

impl Answers {
    fn counts(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for (_, outcome) in &self.ends {
            let name = outcome.as_ref().map_or_else(reason, |_| "OK".into());
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    fn count(&self, name: &str) -> usize {
        self.counts().get(name).copied().unwrap_or(0)
    }

    fn keys(&self) -> Vec<String> {
        self.ends.iter().filter_map(|(_, outcome)| outcome.clone().ok()).collect()
    }

    /// Checks that no failure was evaluated before the schedule allowed it, one failure being tolerated:
    /// an answer comes after its evaluation, so each must have come after all the waits before it.
    fn keep_the_schedule(&self, initial: Duration) {
        let failures = self.ends.iter().filter(|(_, outcome)| {
            outcome.as_ref().is_err_and(|status| reason(status) == "INVALID_CODE")
        });
        let mut times: Vec<Duration> = failures.map(|(at, _)| *at - self.begin).collect();
        times.sort();
        let mut allowed = Duration::ZERO;
        for (n, time) in times.iter().enumerate() {
            assert!(*time >= allowed, "failure {} came after {time:?}, not {allowed:?}", n + 1);
            if n >= 1 {
                allowed += initial * (1 << (n - 1));
            }
        }
    }
}
