//! The functions that need no server.

use crate::convert::{self, Text, malformed, number, small, text};
use crate::failure::{exception, guarded};
use crate::{clock, failure};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDateTime, PyFloat};
use std::time::Duration;
use twinlock_client::Error;
use twinlock_core::backoff::{Counter, Schedule};
use twinlock_core::otpauth::{self, Issuer, OtpauthUri};
use twinlock_core::recovery::{RecoveryKey, RecoveryKeyHash};
use twinlock_core::totp::{
    self, Algorithm, Digits, Parameters, Period, Secret, Step, TotpCode, Window,
};
use twinlock_core::{AccountName, Malformed, Namespace, Refusal, Timestamp, UserId};
use twinlock_core::{qr, second_factor};

/// Verifies a code, and gives the step that it belongs to.
///
/// Keep the step with the user, in the transaction that accepts the code, and give it as ``last_step`` the next
/// time: a code whose step is not later is refused, so that each works once. ``window`` is how many steps
/// before and after the present one are taken too, 0 to 2, by default 1. All of them are computed and compared
/// in constant time.
///
/// Raises :class:`ProofError`: ``INVALID_CODE`` for a wrong code; ``CODE_ALREADY_USED``, with the time until
/// the next one; ``MALFORMED_CODE`` for anything but ``digits`` digits from 0 to 9, blanks included. Raises
/// :class:`RequestError` for a secret that is no base32 of 80 to 1,024 bits, and for settings and times out of
/// their range.
///
/// >>> from twinlock import totp
/// >>> totp.verify("JBSWY3DPEHPK3PXP", "282760", at=0)
/// 0
/// >>> totp.verify("JBSWY3DPEHPK3PXP", "282760", at=30, last_step=0)
/// Traceback (most recent call last):
///     ...
/// twinlock.ProofError: This code was used before. Wait for the next one and enter that.
#[pyfunction]
#[pyo3(signature = (
    secret, code, *, last_step = None, at = None, window = None, algorithm = None, digits = None, period = None
))]
#[expect(clippy::too_many_arguments, reason = "keywords of one function")]
pub fn verify(
    py: Python<'_>,
    secret: &Text<'_>,
    code: &Text<'_>,
    last_step: Option<&Bound<'_, PyAny>>,
    at: Option<&Bound<'_, PyAny>>,
    window: Option<&Bound<'_, PyAny>>,
    algorithm: Option<&Text<'_>>,
    digits: Option<&Bound<'_, PyAny>>,
    period: Option<&Bound<'_, PyAny>>,
) -> PyResult<u64> {
    let (secret, code) = (text(secret, "secret")?, text(code, "totp_code")?);
    let last_step = last_step.map(|step| number(step, "last_step")).transpose()?.map(Step);
    let window = window.map(|window| small(window, "window")).transpose()?;
    let parameters = parameters(algorithm, digits, period)?;
    let now = moment(at)?;
    let accepted = guarded(py, || {
        let secret = Secret::parse_base32(secret)?;
        let code = TotpCode::parse(code)?;
        let window = window.map_or(Ok(Window::default()), Window::new)?;
        Ok(second_factor::accept(&secret, &parameters, window, now, &code, last_step))
    });
    match accepted? {
        Ok(step) => Ok(step.0),
        Err(Refusal::InvalidCode) => Err(failure::invalid_code(py)),
        Err(refusal) => Err(exception(py, &refusal.into())),
    }
}

/// The code that an authenticator app shows at a time; for tests, and for what plays the app itself.
///
/// Raises :class:`RequestError` for a secret, a setting or a time that is not of its form.
///
/// >>> from twinlock import totp
/// >>> totp.generate("JBSWY3DPEHPK3PXP", at=0)
/// '282760'
#[pyfunction]
#[pyo3(signature = (secret, *, at = None, algorithm = None, digits = None, period = None))]
pub fn generate(
    py: Python<'_>,
    secret: &Text<'_>,
    at: Option<&Bound<'_, PyAny>>,
    algorithm: Option<&Text<'_>>,
    digits: Option<&Bound<'_, PyAny>>,
    period: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    let secret = text(secret, "secret")?;
    let parameters = parameters(algorithm, digits, period)?;
    let now = moment(at)?;
    guarded(py, || {
        let secret = Secret::parse_base32(secret)?;
        Ok(totp::generate(&secret, &parameters, parameters.period.step(now)).expose().to_string())
    })
}

/// A new secret of 160 random bits, as 32 characters of base32. Keep it encrypted.
///
/// >>> from twinlock import totp
/// >>> len(totp.generate_secret())
/// 32
#[pyfunction]
pub fn generate_secret(py: Python<'_>) -> PyResult<String> {
    guarded(py, || Ok(Secret::generate(random()?).to_base32().to_string()))
}

/// The ``otpauth://`` URI for an authenticator app, with every parameter written out. It holds the secret: show
/// it once, uncached.
///
/// A colon in the issuer becomes a hyphen, because apps would split there.
///
/// Raises :class:`RequestError` for an issuer that is empty or longer than 128 bytes, an account name that is
/// empty or longer than 255, control characters in either, and a bad secret or setting.
///
/// >>> from twinlock import totp
/// >>> totp.build_uri("JBSWY3DPEHPK3PXP", issuer="Acme", account_name="alice")
/// 'otpauth://totp/Acme:alice?secret=JBSWY3DPEHPK3PXP&issuer=Acme&algorithm=SHA1&digits=6&period=30'
#[pyfunction]
#[pyo3(signature = (
    secret, *, issuer, account_name, algorithm = None, digits = None, period = None
))]
pub fn build_uri(
    py: Python<'_>,
    secret: &Text<'_>,
    issuer: &Text<'_>,
    account_name: &Text<'_>,
    algorithm: Option<&Text<'_>>,
    digits: Option<&Bound<'_, PyAny>>,
    period: Option<&Bound<'_, PyAny>>,
) -> PyResult<String> {
    let (secret, issuer) = (text(secret, "secret")?, text(issuer, "issuer")?);
    let account_name = text(account_name, "account_name")?;
    let parameters = parameters(algorithm, digits, period)?;
    guarded(py, || {
        let secret = Secret::parse_base32(secret)?;
        let (issuer, account) = (Issuer::parse(issuer)?, AccountName::parse(account_name)?);
        Ok(otpauth::build(&issuer, &account, &secret, &parameters).to_string())
    })
}

type Uri = (String, Option<String>, Option<String>, &'static str, usize, u32);

/// `(secret, issuer, account_name, algorithm, digits, period)`.
#[pyfunction]
pub fn parse_uri(py: Python<'_>, uri: &Text<'_>) -> PyResult<Uri> {
    let uri = text(uri, "otpauth_uri")?;
    guarded(py, || {
        let OtpauthUri { issuer, account_name, secret, parameters } = OtpauthUri::parse(uri)?;
        let Parameters { algorithm, digits, period } = parameters;
        Ok((
            secret.to_base32().to_string(),
            issuer.map(|issuer| issuer.as_str().to_owned()),
            account_name.map(|name| name.as_str().to_owned()),
            algorithm.name(),
            digits.count(),
            period.as_secs(),
        ))
    })
}

/// A text, such as the URI of :func:`build_uri`, as a QR code: a complete SVG document.
///
/// Raises :class:`RequestError` for a text that does not fit: more than 2,331 bytes.
///
/// >>> from twinlock import totp
/// >>> totp.qr_svg("otpauth://totp/Acme:alice?secret=JBSWY3DPEHPK3PXP")[:4]
/// '<svg'
#[pyfunction]
pub fn qr_svg(py: Python<'_>, text: &Text<'_>) -> PyResult<String> {
    let text = convert::text(text, "text")?;
    guarded(py, || {
        let problem = "is too long for a QR code";
        qr::svg(text).map_err(|_| Malformed { field: "text", problem }.into())
    })
}

/// A new recovery key of 125 random bits, in five groups of five characters. Show it once.
///
/// >>> from twinlock import recovery
/// >>> len(recovery.generate())
/// 29
#[pyfunction]
pub fn generate_recovery_key(py: Python<'_>) -> PyResult<String> {
    guarded(py, || Ok(RecoveryKey::generate(random()?).expose().to_string()))
}

/// What to keep of a recovery key: 32 bytes, SHA-256 over namespace, user and key. With 125 random bits behind
/// it, it needs no slow hash (NIST SP 800-63B); keep it encrypted all the same.
///
/// It belongs to this user alone: for another it does not match. ``namespace`` tells products apart that share a
/// table, by default ``"default"``.
///
/// Raises :class:`ProofError` ``MALFORMED_CODE`` for a key that cannot be one, and :class:`RequestError` for a
/// user that is empty or longer than 255 bytes, or a namespace that is empty or longer than 63.
///
/// >>> from twinlock import recovery
/// >>> recovery.hash("7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B", user_id="alice").hex()[:16]
/// 'd5cc0aafb11dd602'
#[pyfunction]
#[pyo3(signature = (recovery_key, *, user_id, namespace = None))]
pub fn hash_recovery_key<'py>(
    py: Python<'py>,
    recovery_key: &Text<'py>,
    user_id: &Text<'py>,
    namespace: Option<&Text<'py>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let hash = key_hash(py, recovery_key, user_id, namespace)?;
    Ok(PyBytes::new(py, hash.as_bytes()))
}

/// Verifies a recovery key against the hash that was kept. Case, blanks and hyphens do not matter, and ``O``,
/// ``I`` and ``L`` are taken for the digits that they look like.
///
/// It works once: replace the hash by that of a new key in the transaction that accepts this one.
///
/// Raises :class:`ProofError`: ``INVALID_CODE``, or ``MALFORMED_CODE`` for a key that cannot be one. Raises
/// :class:`RequestError` for a hash that has not 32 bytes.
///
/// >>> from twinlock import recovery
/// >>> kept = recovery.hash("7K3QF-0ZV9M-T2WXA-4HJ6C-D8R1B", user_id="alice")
/// >>> recovery.verify("7k3qf ozv9m t2wxa 4hj6c d8r1b", kept, user_id="alice")
#[pyfunction]
#[pyo3(signature = (recovery_key, hash, *, user_id, namespace = None))]
pub fn verify_recovery_key(
    py: Python<'_>,
    recovery_key: &Text<'_>,
    hash: &[u8],
    user_id: &Text<'_>,
    namespace: Option<&Text<'_>>,
) -> PyResult<()> {
    let presented = key_hash(py, recovery_key, user_id, namespace)?;
    let Ok(hash) = hash.try_into() else {
        return Err(malformed(py, "hash", "must have 32 bytes"));
    };
    match presented.matches(&RecoveryKeyHash::from_bytes(hash)) {
        true => Ok(()),
        false => Err(failure::invalid_code(py)),
    }
}

/// What failure number `failures` costs.
#[pyfunction]
pub fn backoff_wait(
    py: Python<'_>,
    schedule: Setting<'_>,
    failures: &Bound<'_, PyAny>,
) -> PyResult<Duration> {
    let failures = small(failures, "failures")?;
    Ok(self::schedule(py, schedule)?.wait(failures))
}

/// How many of the failures still count, where another attempt may be looked at.
#[pyfunction]
pub fn backoff_check(
    py: Python<'_>,
    schedule: Setting<'_>,
    failures: &Bound<'_, PyAny>,
    last_failure: Option<&Bound<'_, PyAny>>,
    at: Option<&Bound<'_, PyAny>>,
) -> PyResult<u32> {
    let schedule = self::schedule(py, schedule)?;
    let failures = small(failures, "failures")?;
    let now = moment(at)?;
    let since = match last_failure {
        Some(time) => self::time(time, "last_failure")?,
        None if failures == 0 => now,
        None => {
            return Err(malformed(py, "last_failure", "must be given where there are failures"));
        }
    };
    guarded(py, || {
        let counter = Counter { failures, since, charges: failures }.at(&schedule, now);
        match counter.gate(&schedule, now).refusal() {
            None => Ok(counter.failures),
            Some(refusal) => Err(refusal.into()),
        }
    })
}

/// `(tolerated_failures, initial, maximum, hard_limit)`.
type Setting<'py> =
    (Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

fn schedule(py: Python<'_>, schedule: Setting<'_>) -> PyResult<Schedule> {
    let (tolerated, initial, maximum, limit) = schedule;
    let tolerated = small(&tolerated, "tolerated_failures")?;
    let initial = convert::duration(&initial, "initial")?;
    let maximum = convert::duration(&maximum, "maximum")?;
    let limit = limit.map(|limit| small(&limit, "hard_limit")).transpose()?;
    guarded(py, || Ok(Schedule::new(tolerated, initial, maximum, limit)?))
}

fn key_hash(
    py: Python<'_>,
    recovery_key: &Text<'_>,
    user_id: &Text<'_>,
    namespace: Option<&Text<'_>>,
) -> PyResult<RecoveryKeyHash> {
    let (key, user) = (text(recovery_key, "recovery_key")?, text(user_id, "user_id")?);
    let namespace = namespace.map_or(Ok("default"), |namespace| text(namespace, "namespace"))?;
    guarded(py, || {
        let (namespace, user) = (Namespace::parse(namespace)?, UserId::parse(user)?);
        Ok(RecoveryKey::parse(key)?.hash(&namespace, &user))
    })
}

fn parameters(
    algorithm: Option<&Text<'_>>,
    digits: Option<&Bound<'_, PyAny>>,
    period: Option<&Bound<'_, PyAny>>,
) -> PyResult<Parameters> {
    let mut parameters = Parameters::default();
    if let Some(name) = algorithm {
        let algorithm = Algorithm::parse(text(name, "algorithm")?);
        parameters.algorithm = algorithm.map_err(|error| refused(name.py(), error))?;
    }
    if let Some(count) = digits {
        let digits = Digits::new(small(count, "digits")?);
        parameters.digits = digits.map_err(|error| refused(count.py(), error))?;
    }
    if let Some(length) = period {
        let period = Period::new(Duration::from_secs(number(length, "period")?));
        parameters.period = period.map_err(|error| refused(length.py(), error))?;
    }
    Ok(parameters)
}

fn refused(py: Python<'_>, malformed: Malformed) -> PyErr {
    failure::exception(py, &malformed.into())
}

/// The time that a caller names, or now.
fn moment(at: Option<&Bound<'_, PyAny>>) -> PyResult<Timestamp> {
    at.map_or_else(|| Ok(clock::now()), |at| time(at, "at"))
}

/// A `datetime` with a time zone, or seconds since the epoch.
fn time(value: &Bound<'_, PyAny>, field: &'static str) -> PyResult<Timestamp> {
    if let Ok(datetime) = value.cast::<PyDateTime>() {
        let passed = convert::since_epoch(datetime, field)?;
        return Ok(Timestamp::default().after(passed));
    }
    if let Ok(float) = value.cast::<PyFloat>() {
        let passed = Duration::try_from_secs_f64(float.value());
        let passed = passed.map_err(|_| {
            malformed(value.py(), field, "must be a number of seconds from 1970 on")
        })?;
        return Ok(Timestamp::default().after(passed));
    }
    Ok(Timestamp::from_secs(number(value, field)?))
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::internal(format!("The operating system gives no random numbers: {error}."))
    })?;
    Ok(bytes)
}
