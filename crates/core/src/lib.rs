//! The rules of Twinlock: pure functions over a record.
//!
//! Nothing here reads a clock, draws a random number, or does I/O: the time and random bytes are
//! arguments, so that every rule can be tested for every moment and every input.
#![deny(missing_docs)]

pub mod identifier;
pub mod otpauth;
pub mod qr;
pub mod recovery;
pub mod time;
pub mod totp;

pub use identifier::{AccountName, Malformed, Namespace, RequestId, SessionId, UserId};
pub use time::Timestamp;
