//! A thousand calls for one user at the same time: the schedule and the rule of one use stay exact.

use std::collections::HashMap;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;
use twinlock_proto::v1::{ElevateRequest, VerifyRequest};
use twinlock_tests::{Client, Options, Server, User, calm_step, reason};

const CALLS: usize = 1000;
const CONNECTIONS: usize = 5;

/// One failure is tolerated and the next blocks for longer than any test takes: so two failures are
/// evaluated from a clean counter on, not one more.
fn one_tolerated() -> Options {
    Options::default().set("backoff.initial=1h").set("server.deadline=30s")
}

/// The first failure blocks for longer than any test takes.
fn none_tolerated() -> Options {
    one_tolerated().set("backoff.tolerated_failures=0")
}

#[tokio::test(flavor = "multi_thread")]
async fn among_999_wrong_codes_one_right_code_wins_at_most_once() {
    let server = Server::start(one_tolerated());
    let clients = connect(&server).await;
    for (round, position) in [0, 1, 2, CALLS / 2, CALLS - 1].into_iter().enumerate() {
        calm_step(Duration::from_secs(5)).await;
        let user = User::enroll(&mut clients[0].clone(), &format!("user-{round}")).await;
        let mut calls = vec![Call::Verify(user.verify(user.wrong_code())); CALLS];
        calls[position] = Call::Verify(user.verify(user.code(0)));
        let answers = storm(&clients, calls).await;

        let successes = answers.count("OK");
        let failures = answers.count("INVALID_CODE");
        println!("round {round}: {successes} successes, {failures} failures");
        assert_eq!(answers.count("BACKOFF"), CALLS - successes - failures, "{answers:?}");
        // After a success two failures fit, and before it one: a second would have blocked it.
        match successes {
            0 => assert_eq!(failures, 2),
            1 => assert!((2..=3).contains(&failures), "{failures}"),
            _ => panic!("one code was accepted {successes} times"),
        }
        assert_eq!(user.failures(&mut clients[0].clone()).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tolerance_a_single_guess_is_evaluated() {
    let server = Server::start(none_tolerated());
    let clients = connect(&server).await;
    calm_step(Duration::from_secs(5)).await;
    let user = User::enroll(&mut clients[0].clone(), "alice").await;
    let mut calls = vec![Call::Verify(user.verify(user.wrong_code())); CALLS];
    calls[CALLS / 2] = Call::Verify(user.verify(user.code(0)));
    let answers = storm(&clients, calls).await;
    // Where the right one is evaluated at all, it was the first.
    assert_eq!(answers.count("INVALID_CODE"), 1);
    assert!(answers.count("OK") <= 1);
    assert_eq!(answers.count("BACKOFF"), CALLS - 1 - answers.count("OK"));
    assert_eq!(user.failures(&mut clients[0].clone()).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_code_a_thousand_times_is_accepted_once() {
    let server = Server::start(one_tolerated());
    let clients = connect(&server).await;
    calm_step(Duration::from_secs(5)).await;
    let user = User::enroll(&mut clients[0].clone(), "alice").await;
    let answers = storm(&clients, vec![Call::Verify(user.verify(user.code(0))); CALLS]).await;
    assert_eq!(answers.count("OK"), 1);
    assert_eq!(answers.count("CODE_ALREADY_USED"), 2, "each repeat counts as a failure");
    assert_eq!(answers.count("BACKOFF"), CALLS - 3);
    assert_eq!(user.failures(&mut clients[0].clone()).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_elevate_share_the_code_and_the_counter() {
    let server = Server::start(one_tolerated());
    let clients = connect(&server).await;
    calm_step(Duration::from_secs(5)).await;
    let user = User::enroll(&mut clients[0].clone(), "alice").await;
    let calls = (0..CALLS).map(|n| match n % 2 {
        0 => Call::Verify(user.verify(user.code(0))),
        _ => Call::Elevate(user.elevate(&format!("session-{n}"), user.code(0))),
    });
    let answers = storm(&clients, calls.collect()).await;
    assert_eq!(answers.count("OK"), 1);
    assert_eq!(answers.count("CODE_ALREADY_USED"), 2);
    assert_eq!(answers.count("BACKOFF"), CALLS - 3);
    assert_eq!(user.failures(&mut clients[0].clone()).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_key_100_times_brings_one_new_key_and_only_that_works() {
    let server = Server::start(Options::default().set("server.deadline=30s"));
    let clients = connect(&server).await;
    let mut client = clients[0].clone();
    let user = User::enroll(&mut client, "alice").await;
    let calls = vec![Call::Verify(user.redeem(&*user.recovery_key)); 100];
    let answers = storm(&clients, calls).await;
    assert_eq!(answers.count("OK"), 1);
    let failures = answers.count("INVALID_CODE");
    answers.keep_the_schedule(Duration::from_secs(1));
    assert_eq!(user.failures(&mut client).await, failures as u32);
    let [new_key] = &answers.keys()[..] else { panic!("not exactly one new key") };

    unblocked(&user, &mut client).await;
    let old = client.verify(user.redeem(&*user.recovery_key)).await.expect_err("used up");
    assert_eq!(reason(&old), "INVALID_CODE");
    unblocked(&user, &mut client).await;
    client.verify(user.redeem(new_key)).await.expect("the new key works");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_100_times_is_decided_once_and_answered_to_all() {
    let server = Server::start(one_tolerated());
    let clients = connect(&server).await;
    let user = User::enroll(&mut clients[0].clone(), "alice").await;
    let mut request = user.redeem(&*user.recovery_key);
    request.request_id = "a request that is repeated".into();
    let answers = storm(&clients, vec![Call::Verify(request); 100]).await;
    assert_eq!(answers.count("OK"), 100, "{answers:?}");
    let keys = answers.keys();
    assert!(keys.iter().all(|key| *key == keys[0]) && keys[0] != user.recovery_key);
    assert_eq!(user.failures(&mut clients[0].clone()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_that_go_on_for_seconds_keep_the_schedule() {
    let server = Server::start(Options::default().set("backoff.initial=50ms"));
    let clients = connect(&server).await;
    let user = User::enroll(&mut clients[0].clone(), "alice").await;
    let begin = Instant::now();
    let mut all = Answers(Vec::new(), Some(begin));
    while begin.elapsed() < Duration::from_secs(3) {
        all.0.extend(
            storm(&clients, vec![Call::Verify(user.verify(user.wrong_code())); 100]).await.0,
        );
    }
    all.keep_the_schedule(Duration::from_millis(50));
    let failures = all.count("INVALID_CODE");
    // 50, 100, 200, 400, 800 ms after the second failure; the next would be 1.6 s later.
    assert!((6..=8).contains(&failures), "{failures} guesses were evaluated");
    assert_eq!(user.failures(&mut clients[0].clone()).await, failures as u32);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_users_at_once_do_not_disturb_each_other() {
    let server = Server::start(one_tolerated());
    let clients = connect(&server).await;
    calm_step(Duration::from_secs(12)).await;
    let mut enrolling = JoinSet::new();
    for n in 0..200 {
        let mut client = clients[n % CONNECTIONS].clone();
        enrolling.spawn(async move { User::enroll(&mut client, &format!("user-{n}")).await });
    }
    let users = enrolling.join_all().await;
    // Each user's right code comes twice, among wrong ones.
    let mut storms = JoinSet::new();
    for (n, user) in users.iter().cloned().enumerate() {
        let client = clients[n % CONNECTIONS].clone();
        storms.spawn(async move {
            let right = Call::Verify(user.verify(user.code(0)));
            let wrong = Call::Verify(user.verify(user.wrong_code()));
            let calls = vec![right.clone(), wrong.clone(), right, wrong.clone(), wrong];
            let answers = storm(&[client], calls).await;
            (user, answers)
        });
    }
    let mut client = clients[0].clone();
    let mut accepted = 0;
    for (user, answers) in storms.join_all().await {
        let counts = answers.counts();
        let failures = answers.count("INVALID_CODE") + answers.count("CODE_ALREADY_USED");
        let (least, most) = if answers.count("OK") == 0 { (2, 2) } else { (2, 3) };
        assert!((least..=most).contains(&failures), "{}: {counts:?}", user.id);
        assert!(answers.count("OK") <= 1, "{}: {counts:?}", user.id);
        assert_eq!(failures + answers.count("OK") + answers.count("BACKOFF"), 5, "{counts:?}");
        assert_eq!(user.failures(&mut client).await, 2, "{}: {counts:?}", user.id);
        accepted += answers.count("OK");
    }
    assert!(accepted > 0, "nobody got in, so nothing was shown");
}

async fn connect(server: &Server) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(server.client().await);
    }
    clients
}

/// Waits until attempts are evaluated again.
async fn unblocked(user: &User, client: &mut Client) {
    while user
        .describe(client)
        .await
        .second_factor_backoff
        .expect("a counter")
        .blocked_until
        .is_some()
    {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[derive(Clone)]
enum Call {
    Verify(VerifyRequest),
    Elevate(ElevateRequest),
}

/// Sends all calls at once, over all connections.
async fn storm(clients: &[Client], calls: Vec<Call>) -> Answers {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for (n, call) in calls.into_iter().enumerate() {
        let mut client = clients[n % clients.len()].clone();
        tasks.spawn(async move {
            let outcome = match call {
                Call::Verify(request) => {
                    client.verify(request).await.map(|answer| answer.into_inner().recovery_key)
                }
                Call::Elevate(request) => {
                    client.elevate(request).await.map(|answer| answer.into_inner().recovery_key)
                }
            };
            (Instant::now(), outcome)
        });
    }
    Answers(tasks.join_all().await, Some(begin))
}

/// What came back and when: the recovery key of each success (empty where there was none), or the failure.
struct Answers(Vec<(Instant, Result<String, Status>)>, Option<Instant>);

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.counts())
    }
}

impl Answers {
    fn counts(&self) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for (_, outcome) in &self.0 {
            let name = outcome.as_ref().map_or_else(reason, |_| "OK".into());
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    fn count(&self, name: &str) -> usize {
        self.counts().get(name).copied().unwrap_or(0)
    }

    fn keys(&self) -> Vec<String> {
        let keys = self.0.iter().filter_map(|(_, outcome)| outcome.clone().ok());
        keys.filter(|key| !key.is_empty()).collect()
    }

    /// Checks that no failure was evaluated before the schedule allowed it, one failure being tolerated.
    ///
    /// An answer comes after its evaluation: so each must have come after all the waits before it.
    fn keep_the_schedule(&self, initial: Duration) {
        let begin = self.1.expect("a beginning");
        let failures = self.0.iter().filter(|(_, outcome)| {
            outcome.as_ref().is_err_and(|status| reason(status) == "INVALID_CODE")
        });
        let mut times: Vec<Duration> = failures.map(|(at, _)| *at - begin).collect();
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
