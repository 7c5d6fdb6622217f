//! `kill -9` under load, again and again: nothing that was acknowledged is ever lost.
//!
//! 20 rounds, or 200 where `TWINLOCK_TEST_LONG` is set. `TWINLOCK_TEST_SEED` repeats the choices of a run
//! (not its timing, which is the kernel's).

use fastrand::Rng;
use std::process::Stdio;
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::Status;
use twinlock_proto::v1::{
    AssertedCredential, ConfirmEnrollmentRequest, DescribeUserRequest, ElevateRequest,
    EnrollRequest, VerifyRequest, elevate_request, verify_request,
};
use twinlock_tests::{Client, Options, Server, code, reason, verify_with, wrong_code};

const PLAYERS: usize = 8;
/// Failures stay tolerated, so that each attempt is evaluated and the counter can be checked exactly.
const MOST_FAILURES: u32 = 8;
const SESSION: &str = "the session of the enrollment";

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9() {
    let rounds = if std::env::var_os("TWINLOCK_TEST_LONG").is_some() { 200 } else { 20 };
    let mut rng = seeded();
    let options = Options::default()
        .set("backoff.tolerated_failures=10")
        .set("totp.window=2")
        .set("server.deadline=30s");
    let mut server = Server::start(options);
    let mut known: Vec<Player> = Vec::new();
    let (mut unanswered, mut failing) = (0, 0);
    for round in 0..rounds {
        let mut playing = JoinSet::new();
        for number in 0..PLAYERS {
            let (client, rng) = (server.client().await, rng.fork());
            playing.spawn(play(client, rng, format!("round-{round}-player-{number}")));
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(20..800))).await;
        server.kill();
        let mut players: Vec<Player> = playing.join_all().await.into_iter().flatten().collect();
        unanswered += players.iter().filter(|player| player.unanswered.is_some()).count();
        failing += players.iter().filter(|player| player.failures > 0).count();

        // Recovery is a moment to be killed in, too.
        if rng.bool() {
            kill_while_starting(&server, Duration::from_millis(rng.u64(0..30)));
        }
        server = server.restart();
        check(&server, &mut players).await;
        known.append(&mut players);
    }
    println!("{} users, {failing} with failures, {unanswered} calls unanswered", known.len());
    assert!(unanswered > 0 && failing > 0, "no kill came at the right time: nothing was shown");
    check(&server, &mut known).await;
    assert!(server.stop().success());
    let doctor = server.command("doctor").output().expect("doctor runs");
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
}

fn seeded() -> Rng {
    let given = std::env::var("TWINLOCK_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| u64::from_be_bytes(twinlock_engine::entropy::bytes()));
    println!("TWINLOCK_TEST_SEED={seed}");
    Rng::with_seed(seed)
}

fn kill_while_starting(server: &Server, after: Duration) {
    let mut serve = server.command("serve");
    serve.args(["--listen", "127.0.0.1:0", "--set", "telemetry.listen=127.0.0.1:0"]);
    serve.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = serve.spawn().expect("it starts");
    std::thread::sleep(after);
    child.kill().expect("it is killed");
    child.wait().expect("it ends");
}

/// A user, and all that the server ever acknowledged of them.
#[derive(Clone, Default)]
struct Player {
    id: String,
    secret: String,
    /// The recovery key of the last answer that had one; empty before the enrollment is confirmed.
    key: String,
    /// The key before it.
    old_key: String,
    /// The last accepted code.
    used: Option<String>,
    /// Failures since the last success.
    failures: u32,
    /// The last call that redeemed a key.
    redeemed: Option<VerifyRequest>,
    /// The call that the server was killed in.
    unanswered: Option<Request>,
}

#[derive(Clone)]
enum Request {
    Elevate(ElevateRequest),
    Enroll(EnrollRequest),
    Confirm(ConfirmEnrollmentRequest),
    Verify(VerifyRequest),
}

/// Lives the lives of one user after the other until the server is gone.
async fn play(mut client: Client, mut rng: Rng, name: String) -> Vec<Player> {
    let mut players = Vec::new();
    for number in 0.. {
        let mut player = Player { id: format!("{name}-{number}"), ..Player::default() };
        let is_alive = player.live(&mut client, &mut rng).await;
        players.push(player);
        if !is_alive {
            break;
        }
    }
    players
}

impl Player {
    /// Enrolls and does this and that; `false` where the server is gone.
    async fn live(&mut self, client: &mut Client, rng: &mut Rng) -> bool {
        let elevate = ElevateRequest {
            user_id: self.id.clone(),
            session_id: SESSION.into(),
            credential: Some(elevate_request::Credential::Asserted(AssertedCredential {
                how: "test".into(),
            })),
            request_id: request_id(rng),
            ..Default::default()
        };
        if !self.call(client, Request::Elevate(elevate)).await {
            return false;
        }
        let enroll = EnrollRequest {
            user_id: self.id.clone(),
            session_id: SESSION.into(),
            request_id: request_id(rng),
            ..Default::default()
        };
        if !self.call(client, Request::Enroll(enroll)).await {
            return false;
        }
        if !self.call(client, self.confirmation(rng)).await {
            return false;
        }
        let mut next_code = 1;
        for _ in 0..rng.u8(2..12) {
            let credential = match rng.u8(0..10) {
                0..4 if self.failures < MOST_FAILURES => {
                    verify_request::Credential::TotpCode(wrong_code(&self.secret))
                }
                4..6 if next_code <= 2 => {
                    next_code += 1;
                    verify_request::Credential::TotpCode(code(&self.secret, next_code - 1))
                }
                _ => verify_request::Credential::RecoveryKey(self.key.clone()),
            };
            let mut verify = verify_with(&self.id, credential);
            verify.request_id = request_id(rng);
            if !self.call(client, Request::Verify(verify)).await {
                return false;
            }
        }
        true
    }

    fn confirmation(&self, rng: &mut Rng) -> Request {
        Request::Confirm(ConfirmEnrollmentRequest {
            user_id: self.id.clone(),
            session_id: SESSION.into(),
            totp_code: code(&self.secret, 0),
            request_id: request_id(rng),
            ..Default::default()
        })
    }

    /// Makes one call and remembers what was acknowledged; `false` where the server is gone.
    async fn call(&mut self, client: &mut Client, request: Request) -> bool {
        let answer = match request.clone() {
            Request::Elevate(elevate) => client.elevate(elevate).await.map(|_| ()),
            Request::Enroll(enroll) => client.enroll(enroll).await.map(|answer| {
                self.secret = answer.into_inner().secret.clone();
            }),
            Request::Confirm(confirm) => {
                let code = confirm.totp_code.clone();
                client.confirm_enrollment(confirm).await.map(|answer| {
                    self.key = answer.into_inner().recovery_key.clone();
                    self.succeeded(Some(code));
                })
            }
            Request::Verify(verify) => client.verify(verify.clone()).await.map(|answer| {
                use verify_request::Credential;
                match verify.credential.clone() {
                    Some(Credential::TotpCode(code)) => self.succeeded(Some(code)),
                    _ => {
                        let next = answer.into_inner().recovery_key.clone();
                        self.old_key = std::mem::replace(&mut self.key, next);
                        self.redeemed = Some(verify);
                        self.succeeded(None);
                    }
                }
            }),
        };
        let Err(status) = answer else { return true };
        if is_wrong(&request, self) && reason(&status) == "INVALID_CODE" {
            self.failures += 1;
            return true;
        }
        assert!(!status.metadata().contains_key("twinlock-reason"), "{}: {status}", self.id);
        self.unanswered = Some(request);
        false
    }

    fn succeeded(&mut self, code: Option<String>) {
        self.failures = 0;
        self.used = code.or(self.used.take());
    }
}

fn is_wrong(request: &Request, player: &Player) -> bool {
    let Request::Verify(VerifyRequest { credential: Some(credential), .. }) = request else {
        return false;
    };
    *credential == verify_request::Credential::TotpCode(wrong_code(&player.secret))
}

/// Checks all players, many at a time.
async fn check(server: &Server, players: &mut [Player]) {
    let mut client = server.client().await;
    let all: Vec<Player> = players.to_vec();
    let mut checks = JoinSet::new();
    let size = all.len().div_ceil(16).max(1);
    for (number, chunk) in all.chunks(size).map(<[Player]>::to_vec).enumerate() {
        let mut client = client.clone();
        checks.spawn(async move {
            let mut checked = Vec::new();
            for mut player in chunk {
                player.check(&mut client).await;
                checked.push(player);
            }
            (number, checked)
        });
    }
    let mut done = checks.join_all().await;
    done.sort_by_key(|(number, _)| *number);
    for (player, checked) in players.iter_mut().zip(done.into_iter().flat_map(|(_, list)| list)) {
        *player = checked;
    }
    // A server that survived this one still knows nobody who never came.
    let nobody = DescribeUserRequest { user_id: "nobody".into() };
    assert!(!client.describe_user(nobody).await.expect("an answer").into_inner().enrolled);
}

impl Player {
    async fn check(&mut self, client: &mut Client) {
        let mut rng = Rng::with_seed(u64::from_be_bytes(twinlock_engine::entropy::bytes()));
        // Whatever became of the call without an answer, its repeat has the answer of that call.
        if let Some(unanswered) = self.unanswered.take() {
            assert!(self.call(client, unanswered).await, "{}: a repeat failed", self.id);
        }
        if self.key.is_empty() {
            return;
        }
        let user = DescribeUserRequest { user_id: self.id.clone() };
        let user = client.describe_user(user).await.expect("a description").into_inner();
        assert!(user.enrolled, "{} is not enrolled any more", self.id);
        let counted = user.second_factor_backoff.expect("a counter").failures;
        assert_eq!(counted, self.failures, "{}: failures", self.id);

        if let Some(redeemed) = self.redeemed.clone() {
            let again = client.verify(redeemed).await.expect("a repeat").into_inner();
            assert_eq!(again.recovery_key, self.key, "{}: another key than before", self.id);
        }
        if let Some(code) = &self.used {
            let credential = verify_request::Credential::TotpCode(code.clone());
            let status = client.verify(verify_with(&self.id, credential)).await;
            self.refused(status, &["CODE_ALREADY_USED", "INVALID_CODE"]);
        }
        if !self.old_key.is_empty() {
            let credential = verify_request::Credential::RecoveryKey(self.old_key.clone());
            let status = client.verify(verify_with(&self.id, credential)).await;
            self.refused(status, &["INVALID_CODE"]);
        }
        let key = verify_request::Credential::RecoveryKey(self.key.clone());
        let mut verify = verify_with(&self.id, key);
        verify.request_id = request_id(&mut rng);
        assert!(
            self.call(client, Request::Verify(verify)).await,
            "{}: the server is gone",
            self.id
        );
    }

    fn refused<T>(&self, answer: Result<T, Status>, reasons: &[&str]) {
        let status = answer.err().unwrap_or_else(|| panic!("{}: accepted again", self.id));
        assert!(reasons.contains(&&*reason(&status)), "{}: {status}", self.id);
    }
}

fn request_id(rng: &mut Rng) -> String {
    format!("{:032x}", rng.u128(..))
}
