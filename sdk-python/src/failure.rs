//! From a failure to the Python exception of its family.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple, PyType};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use twinlock_client::{Error, Family};
use twinlock_core::Refusal;

/// The exception of a failure: `(message, reason, code, retry_after, fields)` of the class of its family.
pub fn exception(py: Python<'_>, error: &Error) -> PyErr {
    build(py, error).map_or_else(|error| error, PyErr::from_value)
}

/// The exception of a code or key that is wrong, as most of those are that somebody guesses. It always says the
/// same, so what it says is made once.
pub fn invalid_code(py: Python<'_>) -> PyErr {
    static ARGUMENTS: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
    let made = ARGUMENTS
        .get_or_try_init(py, || arguments(py, &Refusal::InvalidCode.into()).map(Bound::unbind))
        .and_then(|arguments| class(py, Family::Proof)?.call1(arguments.bind(py)));
    made.map_or_else(|error| error, PyErr::from_value)
}

fn build<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    class(py, error.family())?.call1(arguments(py, error)?)
}

fn arguments<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyTuple>> {
    let fields = error.violations.iter().map(|violation| violation.field.as_str());
    let arguments = (
        error.message.as_str(),
        PyString::intern(py, error.reason.as_str()),
        PyString::intern(py, error.code_name()),
        error.retry_after,
        PyTuple::new(py, fields.collect::<Vec<_>>())?,
    );
    arguments.into_pyobject(py)
}

fn class<'py>(py: Python<'py>, family: Family) -> PyResult<&'py Bound<'py, PyType>> {
    static PROOF: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static BLOCKED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static ELEVATION: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static STATE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static REQUEST: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static CALLER: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static UNAVAILABLE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static INTERNAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let (known, name) = match family {
        Family::Proof => (&PROOF, "ProofError"),
        Family::Blocked => (&BLOCKED, "BlockedError"),
        Family::Elevation => (&ELEVATION, "ElevationRequiredError"),
        Family::State => (&STATE, "StateError"),
        Family::Request => (&REQUEST, "RequestError"),
        Family::Caller => (&CALLER, "CallerError"),
        Family::Unavailable => (&UNAVAILABLE, "UnavailableError"),
        _ => (&INTERNAL, "InternalError"),
    };
    known.import(py, "twinlock._errors", name)
}

/// Gives what `work` gives; a panic in it becomes an exception that `except TwinlockError` catches, which
/// PyO3's own would escape.
pub fn guarded<T>(py: Python<'_>, work: impl FnOnce() -> Result<T, Error>) -> PyResult<T> {
    let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(panic)));
    outcome.map_err(|error| exception(py, &error))
}

/// The failure of something that panicked. What it said stays on standard error.
pub fn panicked(_panic: Box<dyn Any + Send>) -> Error {
    Error::internal("Something went wrong inside of Twinlock's SDK. Please report it.".into())
}

/// Does nothing, or panics: by it the tests show that a panic surfaces as an exception, and the benchmarks
/// what a call costs that does nothing.
#[pyfunction]
#[pyo3(signature = (panics = false))]
pub fn probe(py: Python<'_>, panics: bool) -> PyResult<()> {
    guarded(py, || if panics { panic!("as it was asked to") } else { Ok(()) })
}
