//! The record as a protobuf message. Numbers are never used again for something else.
//!
//! What a later release adds gets a number of the record's own, never one of a message within it: the former
//! is kept by a release that does not know it, and the latter refused.
//!
//! ```proto
//! message Record {
//!   optional Authenticator authenticator = 1;
//!   optional Pending pending = 2;
//!   optional Recovery recovery = 3;
//!   optional bytes password = 4;
//!   optional Counter second_factor_failures = 5;
//!   optional Counter password_failures = 6;
//!   repeated Elevation elevations = 7;
//!   repeated Receipt receipts = 8;
//!   optional uint64 enforced_since = 9;
//!   optional uint64 unenrolled_at = 10;
//! }
//! message Parameters { uint32 algorithm = 1; uint32 digits = 2; uint32 period = 3; }
//! message Authenticator {
//!   bytes secret = 1; Parameters parameters = 2; optional uint64 last_step = 3; uint64 enrolled_at = 4;
//! }
//! message Pending {
//!   bytes secret = 1; Parameters parameters = 2; bytes session = 3; uint32 ground = 4; uint64 begun_at = 5;
//! }
//! message Recovery { bytes hash = 1; uint64 created_at = 2; bool acknowledged = 3; }
//! message Counter { uint32 failures = 1; uint64 since = 2; uint32 charges = 3; }
//! message Elevation { bytes session = 1; uint32 method = 2; uint64 at = 3; }
//! message Receipt {
//!   bytes id = 1; bytes request = 2; uint64 at = 3; optional bytes answer = 4; uint32 holds = 5;
//!   string refusal = 6; uint64 retry_at = 7;
//! }
//! ```

use super::fields::{Field, Fields, Message};
use super::{
    Authenticator, Digest, Elevation, Later, Method, NotARecord, Pending, Record, Recovery, Sealed,
};
use crate::backoff::Counter;
use crate::receipt::{Holds, Kept, Receipt};
use crate::totp::{Algorithm, Digits, Parameters, Period, Step};
use crate::{Reason, Timestamp};
use std::time::Duration;

/// A record that has some receipts takes no more.
const USUAL: usize = 512;

pub(super) fn encode(head: &[u8], record: &Record) -> Vec<u8> {
    let mut to = Message(Vec::with_capacity(head.len() + USUAL));
    to.0.extend_from_slice(head);
    if let Some(it) = &record.authenticator {
        to.message(1, |to| {
            to.content(1, &it.secret.0);
            to.message(2, |to| write_parameters(to, it.parameters));
            to.optional_number(3, it.last_step.map(|step| step.0));
            to.number(4, it.enrolled_at.as_millis());
        });
    }
    if let Some(it) = &record.pending {
        to.message(2, |to| {
            to.content(1, &it.secret.0);
            to.message(2, |to| write_parameters(to, it.parameters));
            to.content(3, &it.session.0);
            to.number(4, u32::from(it.ground));
            to.number(5, it.begun_at.as_millis());
        });
    }
    if let Some(it) = &record.recovery {
        to.message(3, |to| {
            to.content(1, &it.hash.0);
            to.number(2, it.created_at.as_millis());
            to.number(3, it.acknowledged);
        });
    }
    to.optional_content(4, record.password.as_ref().map(|password| &password.0[..]));
    for (field, it) in [(5, &record.second_factor_failures), (6, &record.password_failures)] {
        // Most counters are zero; those take no room.
        if *it != Counter::default() {
            to.message(field, |to| {
                to.number(1, it.failures);
                to.number(2, it.since.as_millis());
                to.number(3, it.charges);
            });
        }
    }
    for it in &record.elevations {
        to.message(7, |to| {
            to.content(1, &it.session.0);
            to.number(2, u32::from(it.method));
            to.number(3, it.at.as_millis());
        });
    }
    for it in &record.receipts {
        to.message(8, |to| write_receipt(to, it));
    }
    to.optional_number(9, record.enforced_since.map(Timestamp::as_millis));
    to.optional_number(10, record.unenrolled_at.map(Timestamp::as_millis));
    to.0.extend_from_slice(&record.later.0);
    to.0
}

fn write_parameters(to: &mut Message, parameters: Parameters) {
    to.number(
        1,
        match parameters.algorithm {
            Algorithm::Sha1 => 1_u32,
            Algorithm::Sha256 => 2,
            Algorithm::Sha512 => 3,
        },
    );
    to.number(2, parameters.digits.count() as u32);
    to.number(3, parameters.period.as_secs());
}

fn write_receipt(to: &mut Message, receipt: &Receipt) {
    to.content(1, &receipt.id.0);
    to.content(2, &receipt.request.0);
    to.number(3, receipt.at.as_millis());
    match &receipt.kept {
        Kept::Success { answer, holds } => {
            to.optional_content(4, Some(&answer.0));
            to.number(5, u32::from(*holds));
        }
        Kept::InvalidCode => to.content(6, Reason::InvalidCode.as_str().as_bytes()),
        Kept::CodeAlreadyUsed { retry_at } => {
            to.content(6, Reason::CodeAlreadyUsed.as_str().as_bytes());
            to.number(7, retry_at.as_millis());
        }
    }
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, NotARecord> {
    let mut record = Record::default();
    let mut later = Vec::new();
    for field in Fields(bytes) {
        let field = field?;
        match field.number {
            1 => record.authenticator = Some(authenticator(field.content()?)?),
            2 => record.pending = Some(pending(field.content()?)?),
            3 => record.recovery = Some(recovery(field.content()?)?),
            4 => record.password = Some(field.sealed()?),
            5 => record.second_factor_failures = counter(field.content()?)?,
            6 => record.password_failures = counter(field.content()?)?,
            7 => record.elevations.push(elevation(field.content()?)?),
            8 => record.receipts.push(receipt(field.content()?)?),
            9 => record.enforced_since = Some(field.timestamp()?),
            10 => record.unenrolled_at = Some(field.timestamp()?),
            _ => later.extend_from_slice(field.bytes),
        }
    }
    Ok(Record { later: Later(later), ..record })
}

fn authenticator(message: &[u8]) -> Result<Authenticator, NotARecord> {
    let (mut secret, mut parameters, mut last_step, mut enrolled_at) = Default::default();
    for field in Fields(message) {
        let field = field?;
        match field.number {
            1 => secret = field.sealed()?.0,
            2 => parameters = Some(self::parameters(field.content()?)?),
            3 => last_step = Some(Step(field.varint()?)),
            4 => enrolled_at = field.timestamp()?,
            _ => return Err(NotARecord),
        }
    }
    let parameters = parameters.ok_or(NotARecord)?;
    Ok(Authenticator { secret: Sealed(secret), parameters, last_step, enrolled_at })
}

fn pending(message: &[u8]) -> Result<Pending, NotARecord> {
    let (mut secret, mut parameters, mut session, mut ground, mut begun_at) = Default::default();
    for field in Fields(message) {
        let field = field?;
        match field.number {
            1 => secret = field.sealed()?.0,
            2 => parameters = Some(self::parameters(field.content()?)?),
            3 => session = Some(field.digest()?),
            4 => ground = Some(field.small()?.try_into()?),
            5 => begun_at = field.timestamp()?,
            _ => return Err(NotARecord),
        }
    }
    Ok(Pending {
        secret: Sealed(secret),
        parameters: parameters.ok_or(NotARecord)?,
        session: session.ok_or(NotARecord)?,
        ground: ground.ok_or(NotARecord)?,
        begun_at,
    })
}

fn parameters(message: &[u8]) -> Result<Parameters, NotARecord> {
    let (mut algorithm, mut digits, mut period) = Default::default();
    for field in Fields(message) {
        let field = field?;
        match field.number {
            1 => algorithm = field.varint()?,
            2 => digits = field.small()?,
            3 => period = field.small()?,
            _ => return Err(NotARecord),
        }
    }
    Ok(Parameters {
        algorithm: match algorithm {
            1 => Algorithm::Sha1,
            2 => Algorithm::Sha256,
            3 => Algorithm::Sha512,
            _ => return Err(NotARecord),
        },
        digits: Digits::new(digits).map_err(|_| NotARecord)?,
        period: Period::new(Duration::from_secs(period.into())).map_err(|_| NotARecord)?,
    })
}

fn recovery(message: &[u8]) -> Result<Recovery, NotARecord> {
    let (mut hash, mut created_at, mut acknowledged) = Default::default();
    for field in Fields(message) {
        let field = field?;
        match field.number {
            1 => hash = field.sealed()?.0,
            2 => created_at = field.timestamp()?,
            3 => acknowledged = field.varint()? != 0,
            _ => return Err(NotARecord),
        }
    }
    Ok(Recovery { hash: Sealed(hash), created_at, acknowledged })
}

fn counter(message: &[u8]) -> Result<Counter, NotARecord> {
    let mut counter = Counter::default();
    for field in Fields(message) {
        let field = field?;
        match field.number {
            1 => counter.failures = field.small()?,
            2 => counter.since = field.timestamp()?,
            3 => counter.charges = field.small()?,
            _ => return Err(NotARecord),
        }
    }
    Ok(counter)
}

fn elevation(message: &[u8]) -> Result<Elevation, NotARecord> {
    let (mut session, mut method, mut at) = Default::default();
    for field in Fields(message) {
        let field = field?;
        match field.number {
            1 => session = Some(field.digest()?),
            2 => method = Some(field.small()?.try_into()?),
            3 => at = field.timestamp()?,
            _ => return Err(NotARecord),
        }
    }
    let (session, method) = (session.ok_or(NotARecord)?, method.ok_or(NotARecord)?);
    Ok(Elevation { session, method, at })
}

fn receipt(message: &[u8]) -> Result<Receipt, NotARecord> {
    let (mut id, mut request, mut at, mut answer, mut retry_at) = Default::default();
    let (mut holds, mut refusal) = (Holds::Nothing, &b""[..]);
    for field in Fields(message) {
        let field = field?;
        match field.number {
            1 => id = Some(field.digest()?),
            2 => request = Some(field.digest()?),
            3 => at = field.timestamp()?,
            4 => answer = Some(field.sealed()?),
            5 => holds = field.small()?.try_into()?,
            6 => refusal = field.content()?,
            7 => retry_at = field.timestamp()?,
            _ => return Err(NotARecord),
        }
    }
    let kept = match (answer, refusal) {
        (Some(answer), b"") => Kept::Success { answer, holds },
        (None, b"INVALID_CODE") => Kept::InvalidCode,
        (None, b"CODE_ALREADY_USED") => Kept::CodeAlreadyUsed { retry_at },
        _ => return Err(NotARecord),
    };
    let (id, request) = (id.ok_or(NotARecord)?, request.ok_or(NotARecord)?);
    Ok(Receipt { id, request, at, kept })
}

/// The types that fields of a record have.
impl Field<'_> {
    fn small(&self) -> Result<u32, NotARecord> {
        self.varint()?.try_into().map_err(|_| NotARecord)
    }

    fn timestamp(&self) -> Result<Timestamp, NotARecord> {
        self.varint().map(Timestamp::from_millis)
    }

    fn sealed(&self) -> Result<Sealed, NotARecord> {
        self.content().map(|content| Sealed(content.to_vec()))
    }

    fn digest(&self) -> Result<Digest, NotARecord> {
        self.content()?.try_into().map(Digest).map_err(|_| NotARecord)
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
