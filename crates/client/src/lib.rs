//! A client of the Twinlock API: connections, deadlines, TLS, typed errors, and repeats where they
//! are safe.
//!
//! ```no_run
//! use twinlock_client::proto::{VerifyRequest, verify_request::Credential};
//! use twinlock_client::{Client, Options};
//!
//! # async fn example() -> Result<(), twinlock_client::Error> {
//! let client = Client::connect_lazy(&Options::default())?;
//! let answer = client
//!     .verify(VerifyRequest {
//!         user_id: "alice".into(),
//!         credential: Some(Credential::TotpCode("373416".into())),
//!         ..Default::default()
//!     })
//!     .await?;
//! # let _ = answer;
//! # Ok(())
//! # }
//! ```
//!
//! A code, key or password that is not accepted is an [`Error`], never an answer.
#![deny(missing_docs)]

mod address;
mod client;
mod error;
mod options;
mod random;
mod retry;
mod stream;

pub use client::Client;
pub use error::{Error, Family, FieldViolation, Reason};
pub use options::{Options, TlsIdentity};
pub use stream::Stream;

/// The gRPC status code that an [`Error`] carries.
pub use tonic::Code;

/// The messages of the API, package `twinlock.v1`.
pub use twinlock_proto::v1 as proto;
