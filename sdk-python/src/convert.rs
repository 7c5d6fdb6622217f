//! Between Python's values and those of the API. Text that cannot be sent, such as half of a surrogate pair
//! out of a browser's JSON, is a refusal like any other and not a surprise.

use crate::failure::exception;
use prost_types::Timestamp;
use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDateTime, PyDelta, PyString, PyTzInfo};
use std::time::Duration;
use twinlock_client::Error;
use twinlock_client::proto as v1;
use twinlock_core::Malformed;

/// A text that goes into the named field.
pub type Text<'py> = Bound<'py, PyString>;

/// The exception of a field that is not of its form.
pub fn malformed(py: Python<'_>, field: &'static str, problem: &'static str) -> PyErr {
    exception(py, &Malformed { field, problem }.into())
}

/// What is in a text.
pub fn text<'text>(value: &'text Text<'_>, field: &'static str) -> PyResult<&'text str> {
    value.to_str().map_err(|_| malformed(value.py(), field, "must be text that UTF-8 can hold"))
}

/// What is in a text, if there is one.
pub fn given(value: Option<&Text<'_>>, field: &'static str) -> PyResult<Option<String>> {
    value.map(|value| text(value, field).map(str::to_owned)).transpose()
}

/// What is in a text; empty where there is none, which is how the API leaves a field out.
pub fn optional(value: Option<&Text<'_>>, field: &'static str) -> PyResult<String> {
    given(value, field).map(Option::unwrap_or_default)
}

/// Where an attempt came from.
pub fn client(
    ip_address: Option<&Text<'_>>,
    user_agent: Option<&Text<'_>>,
) -> PyResult<Option<v1::ClientContext>> {
    Ok(Some(v1::ClientContext {
        ip_address: optional(ip_address, "client.ip_address")?,
        user_agent: optional(user_agent, "client.user_agent")?,
    }))
}

/// A whole number that fits into `u64`.
pub fn number(value: &Bound<'_, PyAny>, field: &'static str) -> PyResult<u64> {
    value.extract().map_err(|error: PyErr| {
        match error.is_instance_of::<PyOverflowError>(value.py()) {
            true => malformed(value.py(), field, "must be a whole number from 0 to 2^64 - 1"),
            false => error,
        }
    })
}

/// The same for numbers that are small; a large one is beyond every limit.
pub fn small(value: &Bound<'_, PyAny>, field: &'static str) -> PyResult<u32> {
    number(value, field).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// A `timedelta`.
pub fn duration(value: &Bound<'_, PyAny>, field: &'static str) -> PyResult<Duration> {
    let delta = value.cast::<PyDelta>()?;
    delta.extract().map_err(|_| malformed(value.py(), field, "must not be negative"))
}

/// How long after the epoch a `datetime` is.
pub fn since_epoch(value: &Bound<'_, PyDateTime>, field: &'static str) -> PyResult<Duration> {
    let py = value.py();
    let zone = value.getattr("tzinfo")?;
    if zone.is_none() {
        return Err(malformed(py, field, "must have a time zone"));
    }
    let passed = value.sub(epoch(py)?)?;
    passed.extract().map_err(|_| malformed(py, field, "must not lie before 1970"))
}

/// A `datetime` as the API writes it.
pub fn timestamp(value: &Bound<'_, PyDateTime>, field: &'static str) -> PyResult<Timestamp> {
    let passed = since_epoch(value, field)?;
    // A `datetime` ends with the year 9999, so neither can overflow.
    Ok(Timestamp {
        seconds: i64::try_from(passed.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(passed.subsec_nanos()).unwrap_or_default(),
    })
}

/// A time of the API as a `datetime` in UTC, to the microsecond.
pub fn datetime<'py>(py: Python<'py>, time: Timestamp) -> PyResult<Bound<'py, PyAny>> {
    let seconds = time.seconds;
    let days = i32::try_from(seconds.div_euclid(86_400))?;
    let rest = i32::try_from(seconds.rem_euclid(86_400))?;
    epoch(py)?.add(PyDelta::new(py, days, rest, time.nanos / 1000, true)?)
}

fn epoch<'py>(py: Python<'py>) -> PyResult<&'py Bound<'py, PyDateTime>> {
    static EPOCH: PyOnceLock<Py<PyDateTime>> = PyOnceLock::new();
    let epoch = EPOCH.get_or_try_init(py, || -> PyResult<_> {
        let utc = PyTzInfo::utc(py)?;
        Ok(PyDateTime::new(py, 1970, 1, 1, 0, 0, 0, 0, Some(&utc))?.unbind())
    })?;
    Ok(epoch.bind(py))
}

/// A time that an answer may leave out.
pub struct Time(pub Option<Timestamp>);

impl<'py> IntoPyObject<'py> for Time {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self.0 {
            Some(time) => datetime(py, time),
            None => Ok(py.None().into_bound(py)),
        }
    }
}

/// A text that an answer may leave empty.
pub fn set(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// The name of a method of proof without its prefix; `None` where there is none, `UNKNOWN` for one of a later
/// release.
pub fn method(method: i32) -> Option<&'static str> {
    match v1::Method::try_from(method) {
        Ok(v1::Method::Unspecified) => None,
        Ok(method) => method.as_str_name().strip_prefix("METHOD_"),
        Err(_) => Some("UNKNOWN"),
    }
}

/// The name of a decision without its prefix. One of a later release is a failure: what it asks for is not
/// known, and to guess would be to let somebody in.
pub fn decision(decision: i32) -> Result<&'static str, Error> {
    let name = match v1::Decision::try_from(decision) {
        Ok(v1::Decision::Unspecified) | Err(_) => None,
        Ok(decision) => decision.as_str_name().strip_prefix("DECISION_"),
    };
    name.ok_or_else(|| {
        Error::internal("The server's decision is not known to this release. Upgrade it.".into())
    })
}

pub type Elevation = (&'static str, Time, Time);

/// `(method, elevate_time, expire_time)`.
pub fn elevation(elevation: v1::Elevation) -> Elevation {
    let v1::Elevation { method: how, elevate_time, expire_time } = elevation;
    (method(how).unwrap_or("UNKNOWN"), Time(elevate_time), Time(expire_time))
}

/// `(failures, blocked_until)`.
pub fn counter(backoff: Option<v1::Backoff>) -> (u32, Time) {
    let v1::Backoff { failures, blocked_until } = backoff.unwrap_or_default();
    (failures, Time(blocked_until))
}

type Texts = (Option<String>, Option<String>, Option<String>, Option<String>, Option<String>);
type Event = (String, Time, String, String, Option<&'static str>, Texts, String);

/// `(event_id, event_time, type, user_id, method, (actor_id, caller, reason, ip_address, user_agent),
/// namespace)`.
pub fn event(event: v1::Event) -> Event {
    let client = event.client.unwrap_or_default();
    let texts = (
        set(event.actor_id),
        set(event.caller),
        set(event.reason),
        set(client.ip_address),
        set(client.user_agent),
    );
    let time = Time(event.event_time);
    let how = method(event.method);
    (event.event_id, time, event.r#type, event.user_id, how, texts, event.namespace)
}
