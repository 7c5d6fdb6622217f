//! Runs the rules of Twinlock against a store.
//!
//! Plain Rust types go in and come out: this crate knows neither gRPC nor HTTP.

pub mod clock;
pub mod deadline;
pub mod entropy;
pub mod hash;
pub mod store;
