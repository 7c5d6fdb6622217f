//! The floor that local verification is measured against: a call through Node-API with its two strings and
//! the time, and the HMACs of three steps. Nothing is checked, reported or thrown.

use napi_derive::napi;
use twinlock_core::Timestamp;
use twinlock_core::totp::{Parameters, Secret, TotpCode, Window, matched_step};

#[napi]
pub fn floor(secret: String, code: String, now: f64) -> i32 {
    let (Ok(secret), Ok(code)) = (Secret::parse_base32(&secret), TotpCode::parse(&code)) else {
        return -1;
    };
    let now = Timestamp::from_millis(now as u64);
    let step = matched_step(&secret, &Parameters::default(), Window::default(), now, &code);
    i32::from(step.is_some())
}
