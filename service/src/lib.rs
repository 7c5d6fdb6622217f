//! The `twinlock` binary: its edges, its configuration and its commands.
#![forbid(unsafe_code)]

pub mod callers;
pub mod cli;
pub mod config;
pub mod context;
pub mod dataset;
pub mod errors;
pub mod events;
pub mod grpc;
pub mod import;
pub mod input;
pub mod keyring;
pub mod policy;
pub mod reload;
pub mod rest;
pub mod serve;
pub mod telemetry;
