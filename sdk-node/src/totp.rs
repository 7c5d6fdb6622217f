//! Codes of authenticator apps, without a server.

use napi::bindgen_prelude::Function;
use napi::{Env, Result as NapiResult};
use napi_derive::napi;
use twinlock_client::Error;
use twinlock_core::otpauth::{self, Issuer, OtpauthUri};
use twinlock_core::totp::{Algorithm, Digits, Parameters, Period, Secret, Step, TotpCode, Window};
use twinlock_core::{AccountName, Malformed, Refusal, qr, second_factor, totp};
use zeroize::Zeroizing;

use crate::failure::{Outcome, outcome};
use crate::random::random;
use crate::time::{milliseconds, point, whole};

/// What an authenticator app must know beside the secret, and how much later or earlier a code may come.
/// Numbers are taken as JavaScript has them, so that none is rounded into one that is right.
#[napi(object, object_to_js = false)]
#[derive(Default)]
pub struct TotpOptions {
    pub algorithm: Option<String>,
    pub digits: Option<f64>,
    pub period_ms: Option<f64>,
    pub window: Option<f64>,
}

impl TotpOptions {
    fn parameters(&self) -> Result<Parameters, Error> {
        let mut parameters = Parameters::default();
        if let Some(algorithm) = &self.algorithm {
            parameters.algorithm = Algorithm::parse(algorithm)?;
        }
        if let Some(digits) = self.digits {
            parameters.digits = Digits::new(whole(digits))?;
        }
        if let Some(period) = self.period_ms {
            parameters.period = Period::new(milliseconds("period", period)?)?;
        }
        Ok(parameters)
    }

    fn window(&self) -> Result<Window, Error> {
        let window = self.window.map(|steps| Window::new(whole(steps))).transpose()?;
        Ok(window.unwrap_or_default())
    }
}

#[napi(catch_unwind)]
pub fn generate_secret() -> Outcome<String> {
    outcome(random().map(|random| Secret::generate(random).to_base32().to_string()))
}

/// The code of the step that `at` lies in.
#[napi(catch_unwind)]
pub fn generate(secret: String, at: f64, options: Option<TotpOptions>) -> Outcome<String> {
    let secret = Zeroizing::new(secret);
    let code = || -> Result<String, Error> {
        let parameters = options.unwrap_or_default().parameters()?;
        let step = parameters.period.step(point("at", at)?);
        let secret = Secret::parse_base32(&secret)?;
        Ok(totp::generate(&secret, &parameters, step).expose().to_string())
    };
    outcome(code())
}

/// The function that verifies a code by the defaults: its arguments are the secret, the code, the time and the last
/// step. It is made by hand, since what `#[napi]` does around a call takes as long as two of the HMACs.
#[napi(catch_unwind)]
pub fn verifier(env: &Env) -> NapiResult<Function<'_, (), Option<Outcome<f64>>>> {
    env.create_function_from_closure("verify", |call| {
        let (secret, code): (String, String) = (call.get(0)?, call.get(1)?);
        let (secret, code) = (Zeroizing::new(secret), Zeroizing::new(code));
        let (at, last_step) = (call.get(2)?, call.get(3)?);
        Ok(accepted(&secret, &code, at, last_step, || Ok(Default::default())))
    })
}

/// The same by other rules. To look for what is mostly not there takes Node-API longer than one of the HMACs.
#[napi(catch_unwind)]
pub fn verify_with(
    secret: String,
    code: String,
    at: f64,
    last_step: Option<f64>,
    options: TotpOptions,
) -> Option<Outcome<f64>> {
    let (secret, code) = (Zeroizing::new(secret), Zeroizing::new(code));
    accepted(&secret, &code, at, last_step, || Ok((options.parameters()?, options.window()?)))
}

/// The step that a code uses up; nothing for a wrong one, which is too frequent to describe each time.
fn accepted(
    secret: &str,
    code: &str,
    at: f64,
    last_step: Option<f64>,
    rules: impl FnOnce() -> Result<(Parameters, Window), Error>,
) -> Option<Outcome<f64>> {
    let accept = || -> Result<Result<Step, Refusal>, Error> {
        let (parameters, window) = rules()?;
        let last_step = last_step.map(step).transpose()?;
        let now = point("at", at)?;
        let code = TotpCode::parse(code)?;
        let secret = Secret::parse_base32(secret)?;
        Ok(second_factor::accept(&secret, &parameters, window, now, &code, last_step))
    };
    match accept() {
        Ok(Err(Refusal::InvalidCode)) => None,
        Ok(accepted) => Some(outcome(accepted.map(|Step(step)| step as f64))),
        Err(error) => Some(outcome(Err(error))),
    }
}

/// What a wrong code is told.
#[napi(catch_unwind)]
pub fn wrong_code() -> Outcome<()> {
    outcome(Err(Refusal::InvalidCode))
}

#[napi(catch_unwind)]
pub fn build_uri(
    secret: String,
    issuer: String,
    account_name: String,
    options: Option<TotpOptions>,
) -> Outcome<String> {
    let secret = Zeroizing::new(secret);
    let uri = || -> Result<String, Error> {
        let issuer = Issuer::parse(&issuer)?;
        let account_name = AccountName::parse(&account_name)?;
        let secret = Secret::parse_base32(&secret)?;
        let parameters = options.unwrap_or_default().parameters()?;
        Ok(otpauth::build(&issuer, &account_name, &secret, &parameters).to_string())
    };
    outcome(uri())
}

#[napi(object, object_from_js = false)]
pub struct ParsedUri {
    pub issuer: Option<String>,
    pub account_name: Option<String>,
    pub secret: String,
    pub algorithm: &'static str,
    pub digits: u32,
    pub period_ms: f64,
}

#[napi(catch_unwind)]
pub fn parse_uri(uri: String) -> Outcome<ParsedUri> {
    let uri = Zeroizing::new(uri);
    outcome(OtpauthUri::parse(&uri).map(|uri| ParsedUri {
        issuer: uri.issuer.map(|issuer| issuer.as_str().to_owned()),
        account_name: uri.account_name.map(|name| name.as_str().to_owned()),
        secret: uri.secret.to_base32().to_string(),
        algorithm: uri.parameters.algorithm.name(),
        digits: uri.parameters.digits.count() as u32,
        period_ms: f64::from(uri.parameters.period.as_secs()) * 1000.0,
    }))
}

/// A QR code as a complete SVG document.
#[napi(catch_unwind)]
pub fn qr_svg(text: String) -> Outcome<String> {
    let text = Zeroizing::new(text);
    let too_long = Malformed { field: "text", problem: "is too long for a QR code" };
    outcome(qr::svg(&text).map_err(|_| too_long))
}

fn step(number: f64) -> Result<Step, Malformed> {
    match number.fract() == 0.0 && number >= 0.0 {
        true => Ok(Step(number as u64)),
        false => Err(Malformed {
            field: "last_step",
            problem: "must be a whole number that is not negative",
        }),
    }
}
