//! The wall clock jumps while the server runs: no early end of a block, no code twice, no endless block.
//!
//! Debian's libfaketime stands between the server and its clock; timers and deadlines, which run on the
//! monotonic clock, keep their pace.

use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use twinlock_core::totp::Parameters;
use twinlock_proto::v1::{
    CheckElevationRequest, ConfirmEnrollmentRequest, ElevateRequest, EnrollRequest, elevate_request,
};
use twinlock_tests::{Client, Options, Server, User, calm_step, code, now, reason, retry_after};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;
/// The configured block: the second failure starts it.
const INITIAL: Duration = Duration::from_secs(1);
const MAXIMUM: Duration = Duration::from_secs(2);
/// How much later than its end a block may be seen to be over, on a machine with much to do.
const SLACK: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_step_back_neither_ends_a_block_early_nor_lengthens_it_beyond_the_maximum() {
    let (server, clock) = start(1);
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "alice").await;
    let failed = fail_until_blocked(&mut client, &user).await;
    clock.follows(&mut client).await;

    clock.step(-HOUR);
    let seen = Instant::now();
    let waited = until_evaluated(&mut client, &user).await;
    clock.follows(&mut client).await;
    assert!(failed.elapsed() >= INITIAL, "it ended early: {:?}", failed.elapsed());
    assert!(seen.elapsed() <= MAXIMUM + SLACK, "it took {:?} after the jump", seen.elapsed());
    assert!(waited > 0, "no call saw the block");
}

#[tokio::test]
async fn a_clock_that_goes_back_again_and_again_restarts_a_block_once_for_each_jump() {
    let (server, clock) = start(1);
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "alice").await;
    fail_until_blocked(&mut client, &user).await;
    // Refused calls within the restarted block do not restart it again: the second half of it passes.
    clock.step(-HOUR);
    let refused = client.verify(user.verify("000000")).await.expect_err("blocked");
    let first = retry_after(&refused).expect("a wait");
    sleep(INITIAL / 2).await;
    let refused = client.verify(user.verify("000000")).await.expect_err("blocked");
    assert_eq!(reason(&refused), "BACKOFF");
    let second = retry_after(&refused).expect("a wait");
    assert!(second + INITIAL / 4 < first, "the wait did not shrink: {first:?}, then {second:?}");
}

#[tokio::test]
async fn a_step_forward_never_lengthens_a_block_and_neither_does_the_way_back() {
    let (server, clock) = start(1);
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "alice").await;
    fail_until_blocked(&mut client, &user).await;
    clock.step(YEAR);
    let jumped = Instant::now();
    until_evaluated(&mut client, &user).await;
    assert!(jumped.elapsed() <= MAXIMUM + SLACK, "{:?}", jumped.elapsed());
    clock.follows(&mut client).await;

    // A block that is dated a year ahead still ends within the maximum, back in the present.
    fail_until_blocked(&mut client, &user).await;
    clock.step(0);
    let back = Instant::now();
    let waited = until_evaluated(&mut client, &user).await;
    assert!(waited > 0, "the way back ended the block at once");
    assert!(back.elapsed() <= MAXIMUM + SLACK, "{:?}", back.elapsed());
}

#[tokio::test]
async fn no_code_is_accepted_twice_however_the_clock_goes() {
    let (server, clock) = start(10);
    let mut client = server.client().await;
    calm_step(Duration::from_secs(8)).await;
    let user = User::enroll(&mut client, "alice").await;
    let present = user.code(0);
    client.verify(user.verify(&*present)).await.expect("a fresh code");

    clock.step(-HOUR);
    for offset in [-1, 0, 1] {
        let old = code(&user.secret, clock.steps() + offset);
        refused_as_used(&mut client, &user, &old).await;
    }
    clock.step(0);
    refused_as_used(&mut client, &user, &present).await;

    clock.step(YEAR);
    let future = code(&user.secret, clock.steps());
    client.verify(user.verify(&*future)).await.expect("a fresh code of next year");
    refused_as_used(&mut client, &user, &future).await;
    clock.step(0);
    for offset in [-1, 0, 1] {
        refused_as_used(&mut client, &user, &user.code(offset)).await;
    }
    clock.step(YEAR);
    refused_as_used(&mut client, &user, &future).await;

    // The app is of no use until next year; the recovery key is the way on.
    clock.step(0);
    client.verify(user.redeem(&*user.recovery_key)).await.expect("the recovery key");
}

#[tokio::test]
async fn a_request_id_does_not_bring_a_code_back_when_its_receipt_has_lapsed() {
    let (server, clock) = start(10);
    let mut client = server.client().await;
    calm_step(Duration::from_secs(5)).await;
    let user = User::enroll(&mut client, "alice").await;
    let mut request = user.verify(user.code(0));
    request.request_id = "the id of one request".into();
    client.verify(request.clone()).await.expect("a fresh code");
    client.verify(request.clone()).await.expect("its repeat");
    // An hour ago the receipt is dated in the future, and the code is one of the future, too.
    for offset in [-HOUR, YEAR, 0] {
        clock.step(offset);
        match client.verify(request.clone()).await {
            Ok(_) => assert_eq!(offset, 0, "accepted again at {offset}"),
            Err(status) => {
                let reason = reason(&status);
                assert!(["INVALID_CODE", "CODE_ALREADY_USED"].contains(&&*reason), "{reason}");
            }
        }
    }
    assert!(user.failures(&mut client).await > 0, "the repeats were evaluated and counted");
}

#[tokio::test]
async fn what_is_dated_in_the_future_has_lapsed() {
    let (server, clock) = start(10);
    let mut client = server.client().await;
    calm_step(Duration::from_secs(5)).await;
    let user = User::enroll(&mut client, "alice").await;
    let elevate = user.elevate("session", user.code(0));
    client.elevate(elevate).await.expect("an elevation");
    let enroll = EnrollRequest {
        user_id: user.id.clone(),
        session_id: "session".into(),
        ..Default::default()
    };
    let pending = client.enroll(enroll).await.expect("a change of app").into_inner();
    assert_eq!(check(&mut client, &user).await, "OK");

    clock.step(-HOUR);
    assert_eq!(check(&mut client, &user).await, "ELEVATION_REQUIRED");
    let confirm = ConfirmEnrollmentRequest {
        user_id: user.id.clone(),
        session_id: "session".into(),
        totp_code: code(&pending.secret, clock.steps()),
        ..Default::default()
    };
    let status = client.confirm_enrollment(confirm).await.expect_err("it has lapsed");
    assert_eq!(reason(&status), "NO_PENDING_ENROLLMENT");
    assert!(user.describe(&mut client).await.pending_expire_time.is_none());

    clock.step(YEAR);
    assert_eq!(check(&mut client, &user).await, "ELEVATION_REQUIRED");
}

/// The clock of a server.
struct Clock {
    file: PathBuf,
    directory: TempDir,
}

fn start(tolerated_failures: u32) -> (Server, Clock) {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Clock { file: directory.path().join("offset"), directory };
    clock.step(0);
    let library = library();
    let options = Options::default()
        .set(&format!("backoff.tolerated_failures={tolerated_failures}"))
        .set("backoff.initial=1s")
        .set("backoff.maximum=2s")
        .env("LD_PRELOAD", library.to_str().expect("a path"))
        .env("FAKETIME_TIMESTAMP_FILE", clock.file.to_str().expect("a path"))
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    (Server::start(options), clock)
}

/// The variant for programs with threads; where it lies depends on the architecture.
fn library() -> PathBuf {
    let directories = std::fs::read_dir("/usr/lib").expect("libraries").filter_map(Result::ok);
    let mut found = directories.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).expect("libfaketime; install Debian's package faketime")
}

impl Clock {
    /// Sets how many seconds the server's clock is ahead of the machine's.
    fn step(&self, seconds: i64) {
        let next = self.directory.path().join("next");
        std::fs::write(&next, format!("{seconds:+}\n")).expect("a file");
        std::fs::rename(next, &self.file).expect("a file");
    }

    fn offset(&self) -> i64 {
        let text = std::fs::read_to_string(&self.file).expect("a file");
        text.trim().parse().expect("a number")
    }

    /// By how many steps of codes the server's clock is ahead.
    fn steps(&self) -> i64 {
        self.offset() / i64::from(Parameters::default().period.as_secs())
    }

    /// Checks that the server's clock follows: else nothing would be shown.
    async fn follows(&self, client: &mut Client) {
        let request = ElevateRequest {
            user_id: "somebody".into(),
            session_id: "session".into(),
            credential: Some(elevate_request::Credential::Asserted(Default::default())),
            ..Default::default()
        };
        let answer = client.elevate(request).await.expect("an elevation").into_inner();
        let time = answer.elevation.and_then(|elevation| elevation.elevate_time).expect("a time");
        let present = i64::try_from(now().as_secs()).expect("seconds");
        assert!((time.seconds - present - self.offset()).abs() < 60, "the clock did not step");
    }
}

/// Fails until a block holds; gives the moment before the failure that began it.
async fn fail_until_blocked(client: &mut Client, user: &User) -> Instant {
    let mut begin = Instant::now();
    loop {
        let attempt = Instant::now();
        let status = client.verify(user.verify("000000")).await.expect_err("wrong");
        match &*reason(&status) {
            "INVALID_CODE" => begin = attempt,
            "BACKOFF" => return begin,
            other => panic!("{other}"),
        }
    }
}

/// Tries a wrong code until it is evaluated; gives how often it was not.
async fn until_evaluated(client: &mut Client, user: &User) -> u32 {
    for refused in 0.. {
        let status = client.verify(user.verify("000000")).await.expect_err("wrong");
        match &*reason(&status) {
            "BACKOFF" => {
                let wait = retry_after(&status).expect("a wait");
                assert!(wait <= MAXIMUM, "a wait of {wait:?}");
            }
            "INVALID_CODE" => return refused,
            other => panic!("{other}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
    0
}

async fn refused_as_used(client: &mut Client, user: &User, code: &str) {
    let status = client.verify(user.verify(code)).await.expect_err("a used or older code");
    assert_eq!(reason(&status), "CODE_ALREADY_USED");
}

async fn check(client: &mut Client, user: &User) -> String {
    let request = CheckElevationRequest {
        user_id: user.id.clone(),
        session_id: "session".into(),
        max_age: None,
    };
    client.check_elevation(request).await.map_or_else(|status| reason(&status), |_| "OK".into())
}
