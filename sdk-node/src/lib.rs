//! The native half of Twinlock's Node SDK: conversion between JavaScript's values and the client's and
//! core's types, and nothing else. Only `lib/` beside it calls it; that checks the form of what comes in
//! and makes classes, errors and dates of what goes out.
//!
//! A failure is a value here ([`failure::Failure`]), since an exception of Node-API carries no more than a
//! text. A panic is caught and becomes an exception.
#![cfg_attr(test, allow(dead_code, reason = "in a test build nothing is registered with Node"))]

mod answers;
mod backoff;
mod cancellation;
mod client;
mod failure;
mod random;
mod recovery;
mod requests;
mod time;
mod totp;

/// Panics, to show that it becomes an exception and ends no process.
#[cfg(debug_assertions)]
#[napi_derive::napi(catch_unwind)]
pub fn panic() {
    panic!("asked for");
}

/// The same in a promise.
#[cfg(debug_assertions)]
#[napi_derive::napi]
pub async fn panic_later() -> napi::Result<()> {
    panic!("asked for later");
}
