//! The record as a protobuf message. Numbers are never used again for something else.
//!
//! What a later release adds gets a number of the record's own, never one of a message within it: the former
//! is kept by a release that does not know it, and the latter refused.

use super::fields::Fields;
use super::{
    Authenticator, Digest, Elevation, Later, Method, NotARecord, Pending, Record, Recovery, Sealed,
};
use crate::backoff::Counter;
use crate::receipt::{Holds, Kept, Receipt};
use crate::totp::{Algorithm, Digits, Parameters, Period, Step};
use crate::{Reason, Timestamp};
use prost::Message;
use std::time::Duration;

pub(super) fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = WireRecord::from(record).encode_to_vec();
    bytes.extend_from_slice(&record.later.0);
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, NotARecord> {
    let later = later(bytes)?;
    let record: Record = WireRecord::decode(bytes).map_err(|_| NotARecord)?.try_into()?;
    Ok(Record { later, ..record })
}

/// The fields of a record that are not known here; an error where one is within what is known.
fn later(bytes: &[u8]) -> Result<Later, NotARecord> {
    let mut later = Vec::new();
    let mut fields = Fields(bytes);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => closed(field.content, 4, Some(2))?,
            2 => closed(field.content, 5, Some(2))?,
            3 | 5 | 6 | 7 => closed(field.content, 3, None)?,
            8 => closed(field.content, 7, None)?,
            4 | 9 | 10 => {}
            _ => later.extend_from_slice(field.bytes),
        }
    }
    Ok(Later(later))
}

/// Makes sure that a message has no number but those up to the last, and its parameters none but theirs.
fn closed(message: &[u8], last: u64, parameters: Option<u64>) -> Result<(), NotARecord> {
    let mut fields = Fields(message);
    while let Some(field) = fields.next()? {
        if field.number > last {
            return Err(NotARecord);
        }
        if Some(field.number) == parameters {
            closed(field.content, 3, None)?;
        }
    }
    Ok(())
}

#[derive(Clone, PartialEq, Message)]
struct WireRecord {
    #[prost(message, optional, tag = "1")]
    authenticator: Option<WireAuthenticator>,
    #[prost(message, optional, tag = "2")]
    pending: Option<WirePending>,
    #[prost(message, optional, tag = "3")]
    recovery: Option<WireRecovery>,
    #[prost(bytes = "vec", optional, tag = "4")]
    password: Option<Vec<u8>>,
    #[prost(message, optional, tag = "5")]
    second_factor_failures: Option<WireCounter>,
    #[prost(message, optional, tag = "6")]
    password_failures: Option<WireCounter>,
    #[prost(message, repeated, tag = "7")]
    elevations: Vec<WireElevation>,
    #[prost(message, repeated, tag = "8")]
    receipts: Vec<WireReceipt>,
    #[prost(uint64, optional, tag = "9")]
    enforced_since: Option<u64>,
    #[prost(uint64, optional, tag = "10")]
    unenrolled_at: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct WireParameters {
    #[prost(uint32, tag = "1")]
    algorithm: u32,
    #[prost(uint32, tag = "2")]
    digits: u32,
    #[prost(uint32, tag = "3")]
    period: u32,
}

#[derive(Clone, PartialEq, Message)]
struct WireAuthenticator {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    parameters: Option<WireParameters>,
    #[prost(uint64, optional, tag = "3")]
    last_step: Option<u64>,
    #[prost(uint64, tag = "4")]
    enrolled_at: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WirePending {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    parameters: Option<WireParameters>,
    #[prost(bytes = "vec", tag = "3")]
    session: Vec<u8>,
    #[prost(uint32, tag = "4")]
    ground: u32,
    #[prost(uint64, tag = "5")]
    begun_at: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WireRecovery {
    #[prost(bytes = "vec", tag = "1")]
    hash: Vec<u8>,
    #[prost(uint64, tag = "2")]
    created_at: u64,
    #[prost(bool, tag = "3")]
    acknowledged: bool,
}

#[derive(Clone, PartialEq, Message)]
struct WireCounter {
    #[prost(uint32, tag = "1")]
    failures: u32,
    #[prost(uint64, tag = "2")]
    since: u64,
    #[prost(uint32, tag = "3")]
    charges: u32,
}

#[derive(Clone, PartialEq, Message)]
struct WireElevation {
    #[prost(bytes = "vec", tag = "1")]
    session: Vec<u8>,
    #[prost(uint32, tag = "2")]
    method: u32,
    #[prost(uint64, tag = "3")]
    at: u64,
}

#[derive(Clone, PartialEq, Message)]
struct WireReceipt {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    request: Vec<u8>,
    #[prost(uint64, tag = "3")]
    at: u64,
    #[prost(bytes = "vec", optional, tag = "4")]
    answer: Option<Vec<u8>>,
    #[prost(uint32, tag = "5")]
    holds: u32,
    #[prost(string, tag = "6")]
    refusal: String,
    #[prost(uint64, tag = "7")]
    retry_at: u64,
}

impl From<&Record> for WireRecord {
    fn from(record: &Record) -> Self {
        Self {
            authenticator: record.authenticator.as_ref().map(|authenticator| WireAuthenticator {
                secret: authenticator.secret.0.clone(),
                parameters: Some(authenticator.parameters.into()),
                last_step: authenticator.last_step.map(|step| step.0),
                enrolled_at: authenticator.enrolled_at.as_millis(),
            }),
            pending: record.pending.as_ref().map(|pending| WirePending {
                secret: pending.secret.0.clone(),
                parameters: Some(pending.parameters.into()),
                session: pending.session.0.to_vec(),
                ground: pending.ground.into(),
                begun_at: pending.begun_at.as_millis(),
            }),
            recovery: record.recovery.as_ref().map(|recovery| WireRecovery {
                hash: recovery.hash.0.clone(),
                created_at: recovery.created_at.as_millis(),
                acknowledged: recovery.acknowledged,
            }),
            password: record.password.as_ref().map(|password| password.0.clone()),
            second_factor_failures: WireCounter::some(&record.second_factor_failures),
            password_failures: WireCounter::some(&record.password_failures),
            elevations: record
                .elevations
                .iter()
                .map(|elevation| WireElevation {
                    session: elevation.session.0.to_vec(),
                    method: elevation.method.into(),
                    at: elevation.at.as_millis(),
                })
                .collect(),
            receipts: record.receipts.iter().map(WireReceipt::from).collect(),
            enforced_since: record.enforced_since.map(Timestamp::as_millis),
            unenrolled_at: record.unenrolled_at.map(Timestamp::as_millis),
        }
    }
}

impl TryFrom<WireRecord> for Record {
    type Error = NotARecord;

    fn try_from(wire: WireRecord) -> Result<Self, NotARecord> {
        Ok(Self {
            authenticator: wire.authenticator.map(Authenticator::try_from).transpose()?,
            pending: wire.pending.map(Pending::try_from).transpose()?,
            recovery: wire.recovery.map(|recovery| Recovery {
                hash: Sealed(recovery.hash),
                created_at: Timestamp::from_millis(recovery.created_at),
                acknowledged: recovery.acknowledged,
            }),
            password: wire.password.map(Sealed),
            second_factor_failures: wire.second_factor_failures.unwrap_or_default().into(),
            password_failures: wire.password_failures.unwrap_or_default().into(),
            elevations: wire
                .elevations
                .into_iter()
                .map(Elevation::try_from)
                .collect::<Result<_, _>>()?,
            receipts: wire.receipts.into_iter().map(Receipt::try_from).collect::<Result<_, _>>()?,
            enforced_since: wire.enforced_since.map(Timestamp::from_millis),
            unenrolled_at: wire.unenrolled_at.map(Timestamp::from_millis),
            later: Later::default(),
        })
    }
}

impl TryFrom<WireAuthenticator> for Authenticator {
    type Error = NotARecord;

    fn try_from(wire: WireAuthenticator) -> Result<Self, NotARecord> {
        Ok(Self {
            secret: Sealed(wire.secret),
            parameters: wire.parameters.ok_or(NotARecord)?.try_into()?,
            last_step: wire.last_step.map(Step),
            enrolled_at: Timestamp::from_millis(wire.enrolled_at),
        })
    }
}

impl TryFrom<WirePending> for Pending {
    type Error = NotARecord;

    fn try_from(wire: WirePending) -> Result<Self, NotARecord> {
        Ok(Self {
            secret: Sealed(wire.secret),
            parameters: wire.parameters.ok_or(NotARecord)?.try_into()?,
            session: digest(&wire.session)?,
            ground: wire.ground.try_into()?,
            begun_at: Timestamp::from_millis(wire.begun_at),
        })
    }
}

impl TryFrom<WireElevation> for Elevation {
    type Error = NotARecord;

    fn try_from(wire: WireElevation) -> Result<Self, NotARecord> {
        Ok(Self {
            session: digest(&wire.session)?,
            method: wire.method.try_into()?,
            at: Timestamp::from_millis(wire.at),
        })
    }
}

impl From<&Receipt> for WireReceipt {
    fn from(receipt: &Receipt) -> Self {
        let mut wire = Self {
            id: receipt.id.0.to_vec(),
            request: receipt.request.0.to_vec(),
            at: receipt.at.as_millis(),
            ..Self::default()
        };
        match &receipt.kept {
            Kept::Success { answer, holds } => {
                wire.answer = Some(answer.0.clone());
                wire.holds = (*holds).into();
            }
            Kept::InvalidCode => wire.refusal = Reason::InvalidCode.as_str().into(),
            Kept::CodeAlreadyUsed { retry_at } => {
                wire.refusal = Reason::CodeAlreadyUsed.as_str().into();
                wire.retry_at = retry_at.as_millis();
            }
        }
        wire
    }
}

impl TryFrom<WireReceipt> for Receipt {
    type Error = NotARecord;

    fn try_from(wire: WireReceipt) -> Result<Self, NotARecord> {
        let kept = match (wire.answer, wire.refusal.as_str()) {
            (Some(answer), "") => {
                Kept::Success { answer: Sealed(answer), holds: wire.holds.try_into()? }
            }
            (None, "INVALID_CODE") => Kept::InvalidCode,
            (None, "CODE_ALREADY_USED") => {
                Kept::CodeAlreadyUsed { retry_at: Timestamp::from_millis(wire.retry_at) }
            }
            _ => return Err(NotARecord),
        };
        Ok(Self {
            id: digest(&wire.id)?,
            request: digest(&wire.request)?,
            at: Timestamp::from_millis(wire.at),
            kept,
        })
    }
}

impl WireCounter {
    /// Most counters are zero; those take no room.
    fn some(counter: &Counter) -> Option<Self> {
        (*counter != Counter::default()).then(|| Self {
            failures: counter.failures,
            since: counter.since.as_millis(),
            charges: counter.charges,
        })
    }
}

impl From<WireCounter> for Counter {
    fn from(wire: WireCounter) -> Self {
        Self {
            failures: wire.failures,
            since: Timestamp::from_millis(wire.since),
            charges: wire.charges,
        }
    }
}

impl From<Parameters> for WireParameters {
    fn from(parameters: Parameters) -> Self {
        Self {
            algorithm: match parameters.algorithm {
                Algorithm::Sha1 => 1,
                Algorithm::Sha256 => 2,
                Algorithm::Sha512 => 3,
            },
            digits: parameters.digits.count() as u32,
            period: parameters.period.as_secs(),
        }
    }
}

impl TryFrom<WireParameters> for Parameters {
    type Error = NotARecord;

    fn try_from(wire: WireParameters) -> Result<Self, NotARecord> {
        Ok(Self {
            algorithm: match wire.algorithm {
                1 => Algorithm::Sha1,
                2 => Algorithm::Sha256,
                3 => Algorithm::Sha512,
                _ => return Err(NotARecord),
            },
            digits: Digits::new(wire.digits).map_err(|_| NotARecord)?,
            period: Period::new(Duration::from_secs(wire.period.into())).map_err(|_| NotARecord)?,
        })
    }
}

impl From<Method> for u32 {
    fn from(method: Method) -> Self {
        match method {
            Method::Totp => 1,
            Method::RecoveryKey => 2,
            Method::Password => 3,
            Method::Asserted => 4,
        }
    }
}

impl TryFrom<u32> for Method {
    type Error = NotARecord;

    fn try_from(number: u32) -> Result<Self, NotARecord> {
        match number {
            1 => Ok(Self::Totp),
            2 => Ok(Self::RecoveryKey),
            3 => Ok(Self::Password),
            4 => Ok(Self::Asserted),
            _ => Err(NotARecord),
        }
    }
}

impl From<Holds> for u32 {
    fn from(holds: Holds) -> Self {
        match holds {
            Holds::Nothing => 0,
            Holds::RecoveryKey => 1,
            Holds::PendingSecret => 2,
        }
    }
}

impl TryFrom<u32> for Holds {
    type Error = NotARecord;

    /// The field was a bool at first: what it held was taken for a recovery key.
    fn try_from(number: u32) -> Result<Self, NotARecord> {
        match number {
            0 => Ok(Self::Nothing),
            1 => Ok(Self::RecoveryKey),
            2 => Ok(Self::PendingSecret),
            _ => Err(NotARecord),
        }
    }
}

fn digest(bytes: &[u8]) -> Result<Digest, NotARecord> {
    bytes.try_into().map(Digest).map_err(|_| NotARecord)
}
