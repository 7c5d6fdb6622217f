//! The rules of Twinlock: pure functions over a record.
//!
//! Nothing here reads a clock, draws a random number, or does I/O: the time and random bytes are
//! arguments, so that every rule can be tested for every moment and every input.
#![deny(missing_docs)]
#![allow(clippy::result_large_err, reason = "a refused admission is a whole decision, moved once")]

pub mod admin;
pub mod answer;
pub mod backoff;
pub mod decision;
pub mod elevation;
pub mod enrollment;
pub mod identifier;
pub mod login;
pub mod otpauth;
pub mod policy;
pub mod qr;
pub mod reason;
pub mod receipt;
pub mod record;
pub mod recovery;
pub mod refusal;
pub mod second_factor;
pub mod time;
pub mod totp;

pub use decision::Decision;
pub use identifier::{AccountName, Malformed, Namespace, RequestId, SessionId, UserId};
pub use policy::Policy;
pub use reason::Reason;
pub use record::Record;
pub use refusal::Refusal;
pub use time::Timestamp;
