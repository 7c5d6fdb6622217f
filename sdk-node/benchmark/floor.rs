//! The floor that local verification is measured against: a call through Node-API itself, its two strings read onto the
//! stack, the time, and the HMACs of three steps. Nothing is checked, wiped, reported or thrown.

use std::ptr::null_mut;

use napi::bindgen_prelude::Function;
use napi::{Env, Result, sys};
use napi_derive::napi;
use twinlock_core::Timestamp;
use twinlock_core::totp::{Parameters, Secret, TotpCode, Window, matched_step};

#[napi]
pub fn floor(env: &Env) -> Result<Function<'_, (), i32>> {
    env.create_function("floor", call)
}

#[allow(unsafe_code, reason = "what napi adds to a call is no part of the floor")]
unsafe extern "C" fn call(env: sys::napi_env, call: sys::napi_callback_info) -> sys::napi_value {
    let (mut arguments, mut count) = ([null_mut(); 3], 3);
    let (mut secret, mut secret_length) = ([0; 256], 0);
    let (mut code, mut code_length) = ([0; 32], 0);
    let (mut now, mut answer) = (0.0, null_mut());
    // SAFETY: Node-API calls this with what is valid until it returns, fills `arguments`, and writes no more bytes than
    // it is told there are.
    unsafe {
        sys::napi_get_cb_info(
            env,
            call,
            &mut count,
            arguments.as_mut_ptr(),
            null_mut(),
            null_mut(),
        );
        let [first, second, third] = arguments;
        let text = secret.as_mut_ptr().cast();
        sys::napi_get_value_string_utf8(env, first, text, secret.len(), &mut secret_length);
        let text = code.as_mut_ptr().cast();
        sys::napi_get_value_string_utf8(env, second, text, code.len(), &mut code_length);
        sys::napi_get_value_double(env, third, &mut now);
        let answered = verify(&secret[..secret_length], &code[..code_length], now);
        sys::napi_create_int32(env, answered, &mut answer);
    }
    answer
}

fn verify(secret: &[u8], code: &[u8], now: f64) -> i32 {
    let [secret, code] = [secret, code].map(|text| str::from_utf8(text).unwrap_or_default());
    let (Ok(secret), Ok(code)) = (Secret::parse_base32(secret), TotpCode::parse(code)) else {
        return -1;
    };
    let now = Timestamp::from_millis(now as u64);
    let step = matched_step(&secret, &Parameters::default(), Window::default(), now, &code);
    i32::from(step.is_some())
}
