//! What the fuzz targets do with an input, for the fuzzer and for the test that feeds them their corpora.
//!
//! None takes "it did not panic" for an answer: each says what must hold of whatever was read.

mod backup;
mod calls;
mod config;
mod edges;
mod oracle;
mod texts;

pub use backup::backup;
pub use calls::{grpc, rest};
pub use config::config;
pub use texts::{migration, otpauth, password_hash};

/// A target: its name, which its corpus and its program have too, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 7] = [
    ("grpc", grpc),
    ("rest", rest),
    ("otpauth", otpauth),
    ("migration", migration),
    ("password_hash", password_hash),
    ("backup", backup),
    ("config", config),
];
