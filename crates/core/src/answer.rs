//! The answers that a repeat may have again, as bytes to be sealed in a receipt.

use crate::Timestamp;
use crate::admin::Target;
use crate::backoff::Charge;
use crate::enrollment::{Begun, Confirmed};
use crate::login::{Ground, Owed, Verdict};
use crate::receipt::Holds;
use crate::record::Method;
use crate::recovery::RecoveryKey;
use crate::second_factor::{Granted, Issued, Proven};
use crate::totp::Secret;
use prost::Message;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// An answer that can be kept and read again.
pub trait Answer: Sized {
    /// The answer as bytes; they may hold a key and must be sealed.
    fn to_bytes(&self) -> Zeroizing<Vec<u8>>;
    /// The answer back; `None` where the bytes are no such answer.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
    /// What it holds that was never told before, by which its receipt is ranked.
    fn holds(&self) -> Holds {
        Holds::Nothing
    }
    /// Whether it tells of a change to an enrollment, which must have been kept as durably as the store
    /// can before anybody is told.
    fn is_lasting(&self) -> bool {
        self.holds() == Holds::RecoveryKey
    }
}

/// All that any answer holds. Numbers are never used again for something else.
#[derive(Clone, PartialEq, Message, Zeroize, ZeroizeOnDrop)]
#[prost(skip_debug)]
struct Wire {
    #[prost(bytes = "vec", tag = "1")]
    secret: Vec<u8>,
    #[prost(string, tag = "2")]
    recovery_key: String,
    #[prost(uint64, optional, tag = "3")]
    recovery_key_created_at: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    at: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    expire_at: Option<u64>,
    #[prost(uint32, tag = "6")]
    method: u32,
    #[prost(bool, tag = "7")]
    elevated: bool,
    #[prost(uint32, tag = "8")]
    owed: u32,
    #[prost(string, tag = "9")]
    ground: String,
    #[prost(bool, tag = "10")]
    notify: bool,
    #[prost(bool, tag = "11")]
    remind: bool,
    #[prost(message, optional, tag = "12")]
    target: Option<WireTarget>,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire(redacted)")
    }
}

impl Answer for () {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::default()
    }

    fn from_bytes(_: &[u8]) -> Option<Self> {
        Some(())
    }

    /// Nothing is told only where an enrollment was ended.
    fn is_lasting(&self) -> bool {
        true
    }
}

impl Answer for Begun {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut wire = Wire::default();
        wire.expire_at = Some(self.expire_at.as_millis());
        wire.secret = self.secret.expose().to_vec();
        write(&wire)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let wire = Wire::decode(bytes).ok()?;
        Some(Self {
            secret: Secret::from_bytes(&wire.secret).ok()?,
            expire_at: Timestamp::from_millis(wire.expire_at?),
        })
    }

    fn holds(&self) -> Holds {
        Holds::PendingSecret
    }
}

#[derive(Clone, PartialEq, Message, Zeroize)]
struct WireTarget {
    #[prost(bool, tag = "1")]
    is_known: bool,
    #[prost(uint64, optional, tag = "2")]
    enrolled_at: Option<u64>,
    #[prost(uint32, tag = "3")]
    second_factor: u32,
    #[prost(uint32, tag = "4")]
    password: u32,
}

impl Answer for Target {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut wire = Wire::default();
        wire.target = Some(WireTarget {
            is_known: self.is_known,
            enrolled_at: self.enrolled_at.map(Timestamp::as_millis),
            second_factor: self.second_factor.0,
            password: self.password.0,
        });
        write(&wire)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let target = Wire::decode(bytes).ok()?.target.take()?;
        Some(Self {
            is_known: target.is_known,
            enrolled_at: target.enrolled_at.map(Timestamp::from_millis),
            second_factor: Charge(target.second_factor),
            password: Charge(target.password),
        })
    }
}

impl Answer for Option<Issued> {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut wire = Wire::default();
        if let Some(issued) = self {
            put_issued(&mut wire, issued);
        }
        write(&wire)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(issued(&Wire::decode(bytes).ok()?))
    }

    fn holds(&self) -> Holds {
        held(self.as_ref())
    }

    /// It tells of an imported enrollment, with a key or without.
    fn is_lasting(&self) -> bool {
        true
    }
}

impl Answer for Confirmed {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut wire = Wire::default();
        wire.at = Some(self.enrolled_at.as_millis());
        put_issued(&mut wire, &self.issued);
        write(&wire)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let wire = Wire::decode(bytes).ok()?;
        let enrolled_at = Timestamp::from_millis(wire.at?);
        Some(Self { issued: issued(&wire)?, enrolled_at })
    }

    fn holds(&self) -> Holds {
        Holds::RecoveryKey
    }
}

impl Answer for Issued {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut wire = Wire::default();
        put_issued(&mut wire, self);
        write(&wire)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        issued(&Wire::decode(bytes).ok()?)
    }

    fn holds(&self) -> Holds {
        Holds::RecoveryKey
    }
}

impl Answer for Proven {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut wire = Wire::default();
        wire.method = self.method.into();
        wire.at = Some(self.at.as_millis());
        if let Some(issued) = &self.issued {
            put_issued(&mut wire, issued);
        }
        if let Some(elevation) = &self.elevation {
            wire.elevated = true;
            wire.expire_at = Some(elevation.expire_at.as_millis());
        }
        write(&wire)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let wire = Wire::decode(bytes).ok()?;
        let method = Method::try_from(wire.method).ok()?;
        let at = Timestamp::from_millis(wire.at?);
        let elevation = match wire.expire_at {
            Some(end) if wire.elevated => {
                Some(Granted { method, at, expire_at: Timestamp::from_millis(end) })
            }
            _ => None,
        };
        Some(Self { method, at, issued: issued(&wire), elevation })
    }

    fn holds(&self) -> Holds {
        held(self.issued.as_ref())
    }
}

impl Answer for Verdict {
    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut wire = Wire::default();
        wire.notify = self.notify;
        wire.remind = self.remind_recovery_key;
        wire.ground = self.ground.as_str().into();
        wire.owed = match self.owed {
            Owed::Allow => 1,
            Owed::Verify => 2,
            Owed::Enroll => 3,
            Owed::Deny => 4,
        };
        write(&wire)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let wire = Wire::decode(bytes).ok()?;
        Some(Self {
            owed: match wire.owed {
                1 => Owed::Allow,
                2 => Owed::Verify,
                3 => Owed::Enroll,
                4 => Owed::Deny,
                _ => return None,
            },
            ground: Ground::ALL.into_iter().find(|ground| ground.as_str() == wire.ground)?,
            notify: wire.notify,
            remind_recovery_key: wire.remind,
        })
    }
}

fn write(wire: &Wire) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(wire.encode_to_vec())
}

fn held(issued: Option<&Issued>) -> Holds {
    if issued.is_some() { Holds::RecoveryKey } else { Holds::Nothing }
}

fn put_issued(wire: &mut Wire, issued: &Issued) {
    wire.recovery_key = issued.key.expose().to_string();
    wire.recovery_key_created_at = Some(issued.created_at.as_millis());
}

fn issued(wire: &Wire) -> Option<Issued> {
    let created_at = Timestamp::from_millis(wire.recovery_key_created_at?);
    Some(Issued { key: RecoveryKey::parse(&wire.recovery_key).ok()?, created_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_as_no_bytes() {
        assert!(().to_bytes().is_empty());
    }

    #[test]
    fn what_is_kept_is_redacted() {
        let mut wire = Wire::default();
        wire.recovery_key = "7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B".into();
        assert_eq!(format!("{wire:?}"), "Wire(redacted)");
    }
}
