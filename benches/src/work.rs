//! What a caller does in one turn, and how it must end.

use crate::client::{Answer, Connection};
use crate::json::Connections;
use crate::people::{self, People, SESSION};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use prost::Message;
use std::time::Duration;
use tokio::time::Instant;
use twinlock_core::totp::Secret;
use twinlock_proto::v1::{
    AssertedCredential, CheckElevationRequest, ClientContext, ConfirmEnrollmentRequest,
    ElevateRequest, EnrollRequest, EnrollResponse, EvaluateLoginRequest, LoginChannel,
    PasswordCredential, SetPasswordRequest, VerifyRequest, elevate_request, set_password_request,
};

const CHECK_ELEVATION: &str = "/twinlock.v1.TwoStepService/CheckElevation";
const CONFIRM: &str = "/twinlock.v1.TwoStepService/ConfirmEnrollment";
const ELEVATE: &str = "/twinlock.v1.TwoStepService/Elevate";
const ENROLL: &str = "/twinlock.v1.TwoStepService/Enroll";
const EVALUATE_LOGIN: &str = "/twinlock.v1.TwoStepService/EvaluateLogin";
const SET_PASSWORD: &str = "/twinlock.v1.TwoStepService/SetPassword";
const VERIFY: &str = "/twinlock.v1.TwoStepService/Verify";

const PASSWORD: &str = "correct horse battery staple";
/// Of "abc", by bcrypt with the least rounds that are taken.
const HASH: &str = "$2b$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi";
/// How many turns a day has, until it begins again.
const DAY: u64 = 200;

/// What a caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// What a floor is asked: Verify, of anybody.
    Floor,
    /// The same, so that whoever comes next is elsewhere in the store.
    FloorOfAnybody,
    /// Verify with a right code.
    Verify,
    /// A login: EvaluateLogin, and then Verify with a right code.
    Login,
    /// Verify within a block.
    Blocked,
    /// Verify with a wrong code.
    Refused,
    /// CheckElevation of an elevated session.
    CheckElevation,
    /// EvaluateLogin of an enrolled user.
    EvaluateLogin,
    /// The same, of anybody.
    EvaluateAnybody,
    /// Elevate with a right code.
    Elevate,
    /// SetPassword of anybody, with a hash: a change that is possible at any time.
    SetPassword,
    /// 95 % logins of EvaluateLogin and Verify, 2.5 % elevation, 2 % attacks, 0.5 % enrollments.
    Day,
}

/// How a server is reached, which others may use at the same time.
#[derive(Clone)]
pub enum Edge {
    /// By gRPC, on one connection.
    Grpc(Connection),
    /// By JSON, which has Verify alone.
    Json(Box<Connections>),
}

/// Who calls: one after the other.
pub struct Caller {
    /// How.
    pub edge: Edge,
    /// What came of it.
    pub tally: Tally,
    /// From when the next call's time counts, where that is not its beginning.
    pub planned: Option<Instant>,
}

/// What came of calls.
#[derive(Default)]
pub struct Tally {
    /// How long each took that ended as expected, in microseconds.
    pub micros: Vec<u32>,
    /// How many did not.
    pub unexpected: u64,
    /// How one of those ended.
    pub example: Option<String>,
}

impl Work {
    /// How many calls a turn of it makes, about.
    pub fn calls(self) -> f64 {
        match self {
            Self::Login | Self::Day => 2.0,
            _ => 1.0,
        }
    }

    /// Does it once; false where nobody is left to do it.
    pub async fn turn(self, number: u64, people: &People, caller: &mut Caller) -> Result<bool> {
        match self {
            Self::Floor | Self::Refused => {
                let expected = if self == Self::Floor { None } else { Some("INVALID_CODE") };
                caller.verify(people.to_refuse(), expected).await?;
            }
            Self::FloorOfAnybody => {
                caller.verify((people.anybody(), "000000".into()), None).await?;
            }
            Self::Verify => {
                let Some(fresh) = people.fresh() else { return Ok(false) };
                caller.verify(fresh, None).await?;
            }
            Self::Login => {
                let Some(fresh) = people.fresh() else { return Ok(false) };
                caller.call(EVALUATE_LOGIN, &login(fresh.0.clone()), None).await?;
                caller.call(VERIFY, &verify(fresh), None).await?;
            }
            Self::Blocked => {
                caller.verify(people.blocked(), Some("BACKOFF")).await?;
            }
            Self::CheckElevation => {
                let request = CheckElevationRequest {
                    user_id: people.elevated(),
                    session_id: SESSION.into(),
                    max_age: None,
                };
                caller.call(CHECK_ELEVATION, &request, None).await?;
            }
            Self::EvaluateLogin => {
                caller.call(EVALUATE_LOGIN, &login(people.elevated()), None).await?;
            }
            Self::EvaluateAnybody => {
                caller.call(EVALUATE_LOGIN, &login(people.anybody()), None).await?;
            }
            Self::SetPassword => {
                let hash = set_password_request::Verifier::PasswordHash(HASH.into());
                let request =
                    SetPasswordRequest { user_id: people.anybody(), verifier: Some(hash) };
                caller.call(SET_PASSWORD, &request, None).await?;
            }
            Self::Elevate => {
                let Some((user_id, code)) = people.active() else { return Ok(false) };
                let request = ElevateRequest {
                    user_id,
                    session_id: SESSION.into(),
                    credential: Some(elevate_request::Credential::TotpCode(code)),
                    client: Some(client()),
                    ..ElevateRequest::default()
                };
                caller.call(ELEVATE, &request, None).await?;
            }
            Self::Day => return day(number, people, caller).await,
        }
        Ok(true)
    }
}

async fn day(number: u64, people: &People, caller: &mut Caller) -> Result<bool> {
    // 77 and 200 have no common divisor, so that what is rare does not come all at once.
    let work = match number.wrapping_mul(77) % DAY {
        0..190 => {
            let Some((user_id, code)) = people.active() else { return Ok(false) };
            caller.call(EVALUATE_LOGIN, &login(user_id.clone()), None).await?;
            let request = VerifyRequest {
                // The one browser that this user has: elevations of many would make the record grow for a day.
                session_id: format!("session of {user_id}"),
                // By the code alone, two requests of a user would have one id once in a while.
                request_id: format!("a request of the benches: {user_id}, {code}, {number}"),
                ..verify((user_id, code))
            };
            caller.call(VERIFY, &request, None).await?;
            return Ok(true);
        }
        190..194 => [Work::Refused, Work::Blocked][usize::from(number.is_multiple_of(2))],
        194..198 => Work::CheckElevation,
        198 => Work::Elevate,
        _ => return enroll(people, caller).await.map(|()| true),
    };
    Box::pin(work.turn(number, people, caller)).await
}

async fn enroll(people: &People, caller: &mut Caller) -> Result<()> {
    let user_id = people.newcomer();
    let session_id = SESSION.to_owned();
    let how = AssertedCredential { how: "ldap".into() };
    let elevate = ElevateRequest {
        user_id: user_id.clone(),
        session_id: session_id.clone(),
        credential: Some(elevate_request::Credential::Asserted(how)),
        ..ElevateRequest::default()
    };
    caller.call(ELEVATE, &elevate, None).await?;
    let enroll = EnrollRequest {
        user_id: user_id.clone(),
        session_id: session_id.clone(),
        ..EnrollRequest::default()
    };
    let Some(answer) = caller.call(ENROLL, &enroll, None).await? else { return Ok(()) };
    let secret = Secret::parse_base32(&EnrollResponse::decode(answer)?.secret)?;
    let confirm = ConfirmEnrollmentRequest {
        user_id,
        session_id,
        totp_code: people::present_code(&secret),
        ..ConfirmEnrollmentRequest::default()
    };
    caller.call(CONFIRM, &confirm, None).await.map(|_| ())
}

impl Caller {
    /// Calls Verify, which must end so.
    async fn verify(&mut self, proof: (String, String), refused: Option<&str>) -> Result<()> {
        let Edge::Json(connections) = &self.edge else {
            return self.call(VERIFY, &verify(proof), refused).await.map(|_| ());
        };
        let (user, code) = proof;
        let begun = self.planned.take().unwrap_or_else(Instant::now);
        let answer = connections.verify(&user, &code).await.context("Verify as JSON")?;
        self.tally.ended(VERIFY, begun.elapsed(), answer, refused);
        Ok(())
    }

    /// Calls a method that must end so: refused for this reason, or with the message that it gives.
    async fn call(
        &mut self,
        path: &'static str,
        message: &impl Message,
        refused: Option<&str>,
    ) -> Result<Option<Bytes>> {
        let Edge::Grpc(connection) = &mut self.edge else { bail!("{path} has no JSON here") };
        let begun = self.planned.take().unwrap_or_else(Instant::now);
        let answer = connection.call(path, message).await.context(path)?;
        Ok(self.tally.ended(path, begun.elapsed(), answer, refused))
    }
}

impl Tally {
    /// A call ended; with its message, where it ended as expected.
    fn ended(
        &mut self,
        path: &str,
        took: Duration,
        answer: Answer,
        refused: Option<&str>,
    ) -> Option<Bytes> {
        let unexpected = match (answer, refused) {
            (Answer::Success(message), None) => {
                self.took(took);
                return Some(message);
            }
            (Answer::Refused(reason), Some(expected)) if reason == expected => {
                self.took(took);
                return None;
            }
            (Answer::Success(_), Some(expected)) => format!("a success, not {expected}"),
            (Answer::Refused(reason), _) => reason,
        };
        self.unexpected += 1;
        self.example = Some(format!("{path}: {unexpected}"));
        None
    }

    fn took(&mut self, took: Duration) {
        self.micros.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.micros.extend(other.micros);
        self.unexpected += other.unexpected;
        self.example = self.example.take().or(other.example);
    }
}

/// Gives a user a password.
pub async fn set_password(connection: &mut Connection, user: &str) -> Result<()> {
    let password = set_password_request::Verifier::Password(PASSWORD.into());
    let request = SetPasswordRequest { user_id: user.into(), verifier: Some(password) };
    succeed(connection.call(SET_PASSWORD, &request).await?)
}

/// Elevates that user by it.
pub async fn elevate_by_password(connection: &mut Connection, user: &str) -> Result<()> {
    let password = PasswordCredential { password: PASSWORD.into(), ..Default::default() };
    let request = ElevateRequest {
        user_id: user.into(),
        session_id: SESSION.into(),
        credential: Some(elevate_request::Credential::Password(password)),
        ..ElevateRequest::default()
    };
    succeed(connection.call(ELEVATE, &request).await?)
}

fn succeed(answer: Answer) -> Result<()> {
    match answer {
        Answer::Success(_) => Ok(()),
        Answer::Refused(reason) => bail!("it was refused: {reason}"),
    }
}

fn verify((user_id, code): (String, String)) -> VerifyRequest {
    VerifyRequest {
        user_id,
        credential: Some(people::code_of(code)),
        client: Some(client()),
        ..VerifyRequest::default()
    }
}

fn login(user_id: String) -> EvaluateLoginRequest {
    EvaluateLoginRequest {
        user_id,
        channel: LoginChannel::Form.into(),
        client: Some(client()),
        ..EvaluateLoginRequest::default()
    }
}

fn client() -> ClientContext {
    ClientContext { ip_address: "198.51.100.7".into(), user_agent: "checkout-web/7".into() }
}
