//! Passwords are dear to check: a flood of them neither fills the memory, nor slows the codes down, nor
//! buys a guess, nor costs an honest user an attempt.

use std::time::Duration;
use tokio::sync::{RwLock, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::{Response, Status};
use twinlock_engine::deadline::Deadline;
use twinlock_engine::hash::{Argon2Parameters, Hasher, Password};
use twinlock_proto::v1::{
    DescribeUserRequest, ElevateRequest, ElevateResponse, PasswordCredential, SetPasswordRequest,
    elevate_request, set_password_request,
};
use twinlock_tests::{Client, Options, Server, User, reason, retry_after};

const PASSWORD: &str = "correct horse battery staple";
const WRONG: &str = "incorrect horse battery staple";
/// The memory of one hash by default.
const MEMORY: u64 = 19_456 << 10;
/// Held whole by the test that measures times, and shared by the others.
static MACHINE: RwLock<()> = RwLock::const_new(());
/// Passes of a hash that takes a good part of a second.
const SLOW: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_users_at_once_neither_fill_the_memory_nor_delay_the_codes() {
    let _machine = MACHINE.write().await;
    let server =
        Server::start(Options::default().set("argon2.concurrency=2").set("server.deadline=3s"));
    let mut client = server.client().await;
    let hash = hash(8).await;
    let bystander = User::enroll(&mut client, "bystander").await;
    let before = server.memory("VmHWM");

    let mut flood = JoinSet::new();
    for n in 0..500 {
        let (mut client, hash) = (client.clone(), hash.clone());
        flood.spawn(async move {
            let begin = Instant::now();
            let user = format!("user-{n}");
            let answer = client.elevate(elevate(&user, PASSWORD, &hash)).await;
            (user, begin.elapsed(), answer)
        });
    }
    let (over, is_over) = watch::channel(false);
    let codes = tokio::spawn(log_in_until(is_over, server.client().await, bystander));
    let (mut granted, mut overloaded, mut users) = (0, 0, Vec::new());
    for (user, took, answer) in flood.join_all().await {
        assert!(took < Duration::from_secs(5), "{user} waited for {took:?}");
        match answer {
            Ok(_) => granted += 1,
            Err(status) => {
                assert_eq!(reason(&status), "OVERLOADED", "{user}: {status}");
                assert!(retry_after(&status).is_some(), "it does not say when to come back");
                overloaded += 1;
            }
        }
        users.push(user);
    }
    over.send(true).expect("somebody logs in");
    let mut times = codes.await.expect("logins");
    assert!(granted > 0 && overloaded > 0, "{granted} granted, {overloaded} overloaded");
    for user in users {
        assert_eq!(failures(&mut client, &user).await, 0, "{user} paid for a check");
    }

    times.sort();
    let p99 = times[times.len() * 99 / 100];
    println!("{} logins meanwhile, p99 {p99:?}", times.len());
    assert!(times.len() >= 100 && p99 < Duration::from_millis(250), "{p99:?} of {}", times.len());
    let grown = server.memory("VmHWM") - before;
    println!("{granted} granted, {overloaded} overloaded, grown by {} MiB", grown >> 20);
    assert!(grown < 2 * MEMORY + (60 << 20), "grown by {} MiB", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_guesses_at_one_user_buy_two() {
    let _machine = MACHINE.read().await;
    let server =
        Server::start(Options::default().set("backoff.initial=1h").set("server.deadline=30s"));
    let mut client = server.client().await;
    let before = server.memory("VmHWM");
    let answers = all(&client, vec![elevate("alice", WRONG, &hash(2).await); 500]).await;
    assert_eq!(count(&answers, "INVALID_CODE"), 2);
    assert_eq!(count(&answers, "BACKOFF"), 498);
    assert_eq!(failures(&mut client, "alice").await, 2);
    let grown = server.memory("VmHWM") - before;
    assert!(grown < 3 * MEMORY + (60 << 20), "grown by {} MiB", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_that_go_on_keep_the_schedule() {
    let _machine = MACHINE.read().await;
    let server = Server::start(Options::default().set("backoff.initial=100ms"));
    let mut client = server.client().await;
    let hash = hash(2).await;
    let begin = Instant::now();
    let mut evaluated = 0;
    while begin.elapsed() < Duration::from_secs(2) {
        let answers = all(&client, vec![elevate("alice", WRONG, &hash); 50]).await;
        evaluated += count(&answers, "INVALID_CODE");
        // Two failures at once, and then after 100, 200, 400, 800 ms and so on.
        let waits = u32::try_from(evaluated).expect("few").saturating_sub(2);
        let least = Duration::from_millis(100) * ((1 << waits) - 1);
        assert!(begin.elapsed() >= least, "{evaluated} after {:?}", begin.elapsed());
    }
    assert!(evaluated >= 4, "only {evaluated} were evaluated");
    assert_eq!(failures(&mut client, "alice").await as usize, evaluated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_after_wrong_ones_clears_the_counter() {
    let _machine = MACHINE.read().await;
    let server = Server::start(Options::default().set("backoff.tolerated_failures=10"));
    let mut client = server.client().await;
    let set = SetPasswordRequest {
        user_id: "alice".into(),
        verifier: Some(set_password_request::Verifier::Password(PASSWORD.into())),
    };
    client.set_password(set).await.expect("a password");
    for n in 1..=3 {
        let status = client.elevate(elevate("alice", WRONG, "")).await.expect_err("wrong");
        assert_eq!(reason(&status), "INVALID_CODE");
        assert_eq!(failures(&mut client, "alice").await, n);
    }
    client.elevate(elevate("alice", PASSWORD, "")).await.expect("right");
    assert_eq!(failures(&mut client, "alice").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_takes_away_its_own_charge_and_those_before_it_alone() {
    let _machine = MACHINE.read().await;
    let options = Options::default()
        .set("backoff.tolerated_failures=10")
        .set("argon2.concurrency=4")
        .set("server.deadline=30s");
    let server = Server::start(options);
    let mut client = server.client().await;
    let (slow, quick) = (hash(SLOW).await, hash(1).await);

    // A wrong one is charged, and while it is hashed a right one comes and goes.
    let wrong = spawn(&client, elevate("before", WRONG, &slow));
    charged(&mut client, "before", 1).await;
    client.elevate(elevate("before", PASSWORD, &quick)).await.expect("right");
    assert_eq!(failures(&mut client, "before").await, 0, "the earlier charge was taken away");
    let status = wrong.await.expect("it ends").expect_err("wrong");
    assert_eq!(reason(&status), "INVALID_CODE");
    assert_eq!(failures(&mut client, "before").await, 0);

    // A right one is charged, and while it is hashed a wrong one comes and goes.
    let right = spawn(&client, elevate("after", PASSWORD, &slow));
    charged(&mut client, "after", 1).await;
    let status = client.elevate(elevate("after", WRONG, &quick)).await.expect_err("wrong");
    assert_eq!(reason(&status), "INVALID_CODE");
    assert_eq!(failures(&mut client, "after").await, 2);
    right.await.expect("it ends").expect("right, whatever came meanwhile");
    assert_eq!(failures(&mut client, "after").await, 1, "the later failure stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_goes_away_leaves_at_most_the_charge() {
    let _machine = MACHINE.read().await;
    let options = Options::default()
        .set("backoff.tolerated_failures=10")
        .set("argon2.concurrency=1")
        .set("server.deadline=30s");
    let server = Server::start(options);
    let mut client = server.client().await;
    let slow = hash(SLOW).await;
    let hashing = spawn(&client, elevate("alice", PASSWORD, &slow));
    charged(&mut client, "alice", 1).await;
    // Others wait for their turn, and go away, too.
    let waiting: Vec<_> =
        (0..20).map(|_| spawn(&client, elevate("alice", PASSWORD, &slow))).collect();
    sleep(Duration::from_millis(50)).await;
    hashing.abort();
    waiting.iter().for_each(tokio::task::JoinHandle::abort);

    // Their turns are given back: the next one gets its own as soon as the first hash has ended.
    let begin = Instant::now();
    client.elevate(elevate("bob", PASSWORD, &hash(1).await)).await.expect("a turn");
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(failures(&mut client, "alice").await, 1, "of those who had a turn, one charge");
    client.elevate(elevate("alice", PASSWORD, &hash(1).await)).await.expect("right");
    assert_eq!(failures(&mut client, "alice").await, 0);
}

/// Logs in again and again, as one user does among many; gives how long each time took.
async fn log_in_until(
    is_over: watch::Receiver<bool>,
    mut client: Client,
    mut user: User,
) -> Vec<Duration> {
    let mut times = Vec::new();
    while !*is_over.borrow() {
        let begin = Instant::now();
        let answer = client.verify(user.redeem(&*user.recovery_key)).await.expect("a login");
        times.push(begin.elapsed());
        user.recovery_key = answer.into_inner().recovery_key.clone();
        sleep(Duration::from_millis(5)).await;
    }
    times
}

fn elevate(user: &str, password: &str, password_hash: &str) -> ElevateRequest {
    ElevateRequest {
        user_id: user.into(),
        session_id: "session".into(),
        credential: Some(elevate_request::Credential::Password(PasswordCredential {
            password: password.into(),
            password_hash: password_hash.into(),
        })),
        ..Default::default()
    }
}

/// A hash of the right password that takes so many passes over the memory.
async fn hash(iterations: u32) -> String {
    let parameters = Argon2Parameters { iterations, ..Argon2Parameters::default() };
    let hasher = Hasher::new(parameters, 1).expect("parameters");
    let permit = hasher.permit(Deadline::after(Duration::from_secs(60))).await.expect("a turn");
    let password = Password::parse(PASSWORD.into()).expect("a password");
    permit.hash(password).await.expect("a hash").expose_text().to_owned()
}

type Answer = Result<Response<ElevateResponse>, Status>;

fn spawn(client: &Client, request: ElevateRequest) -> tokio::task::JoinHandle<Answer> {
    let mut client = client.clone();
    tokio::spawn(async move { client.elevate(request).await })
}

async fn all(client: &Client, requests: Vec<ElevateRequest>) -> Vec<Answer> {
    let mut tasks = JoinSet::new();
    for request in requests {
        let mut client = client.clone();
        tasks.spawn(async move { client.elevate(request).await });
    }
    tasks.join_all().await
}

fn count(answers: &[Answer], name: &str) -> usize {
    answers
        .iter()
        .filter(|answer| answer.as_ref().is_err_and(|error| reason(error) == name))
        .count()
}

async fn failures(client: &mut Client, user: &str) -> u32 {
    let request = DescribeUserRequest { user_id: user.into() };
    let answer = client.describe_user(request).await.expect("a description").into_inner();
    answer.password_backoff.expect("a counter").failures
}

/// Waits until so many failures are counted: the hash behind the last of them has begun then.
async fn charged(client: &mut Client, user: &str, expected: u32) {
    let limit = Instant::now() + Duration::from_secs(10);
    while failures(client, user).await != expected {
        assert!(Instant::now() < limit, "it is not charged");
        sleep(Duration::from_millis(5)).await;
    }
}
