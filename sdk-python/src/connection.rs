//! A connection to a server, and a call for each method of the API. Every call ends with the answer as a tuple
//! of plain Python values, which the package makes the object that users see.
#![expect(clippy::too_many_arguments, reason = "a method takes the fields of its request")]

use crate::call::Call;
use crate::convert::{self, Text, Time, client, given, optional, set, text};
use crate::failure::{exception, guarded};
use crate::process::{self, Own};
use crate::watch::Watch;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyDateTime;
use std::sync::{Mutex, PoisonError};
use twinlock_client::proto::{self as v1, elevate_request, set_password_request, verify_request};
use twinlock_client::{Client, Error, Options, TlsIdentity};

/// A connection to a server, made when it is first needed, again after it broke off, and anew in a fork.
#[pyclass(frozen, module = "twinlock._native")]
pub struct Connection {
    options: Options,
    client: Mutex<State>,
}

enum State {
    Open(Own<Client>),
    Closed,
}

impl Connection {
    fn open(py: Python<'_>, options: Options) -> PyResult<Self> {
        let client = connect(py, &options)?;
        Ok(Self { options, client: Mutex::new(State::Open(Own::new(client))) })
    }

    /// The client of this process. The lock is held only together with the interpreter's; see
    /// [`process::runtime`].
    fn client(&self, py: Python<'_>) -> PyResult<Client> {
        let mut state = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let State::Open(client) = &mut *state else {
            let message = "The client is closed. Make a new one.";
            return Err(exception(py, &Error::invalid("client", message.into())));
        };
        if let Some(client) = client.get() {
            return Ok(client.clone());
        }
        let fresh = connect(py, &self.options)?;
        *client = Own::new(fresh.clone());
        Ok(fresh)
    }

    /// A call of a method of the client, whose answer `convert` makes Python's values.
    fn call<T, Answer, Sent>(
        &self,
        py: Python<'_>,
        send: impl FnOnce(Client) -> Sent,
        convert: impl FnOnce(T) -> Result<Answer, Error> + Send + 'static,
    ) -> PyResult<Call>
    where
        T: Send + 'static,
        Answer: for<'py> IntoPyObject<'py>,
        Sent: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let client = self.client(py)?;
        Ok(Call::new(send(client), |py, answer| match convert(answer) {
            Ok(answer) => answer.into_py_any(py),
            Err(error) => Err(exception(py, &error)),
        }))
    }
}

fn connect(py: Python<'_>, options: &Options) -> PyResult<Client> {
    guarded(py, || {
        let runtime = process::runtime(py)?;
        let _within = runtime.enter();
        Client::connect_lazy(options)
    })
}

/// An answer that says nothing but that it was done.
fn done<T>(_answer: T) -> Result<Option<bool>, Error> {
    Ok(None)
}

/// A recovery key and when it was made, where there is one.
fn key(key: String, create_time: Option<prost_types::Timestamp>) -> (Option<String>, Time) {
    (set(key), Time(create_time))
}

#[pymethods]
impl Connection {
    #[new]
    #[pyo3(signature = (address, token, timeout, tls_ca, tls_certificate, tls_key))]
    fn new(
        py: Python<'_>,
        address: Text<'_>,
        token: Option<Text<'_>>,
        timeout: Bound<'_, PyAny>,
        tls_ca: Option<Vec<u8>>,
        tls_certificate: Option<Vec<u8>>,
        tls_key: Option<Vec<u8>>,
    ) -> PyResult<Self> {
        let tls_identity = match (tls_certificate, tls_key) {
            (Some(certificate), Some(key)) => Some(TlsIdentity { certificate, key }),
            (None, None) => None,
            _ => {
                let problem = "needs a tls_key, and a tls_key needs a tls_certificate";
                return Err(convert::malformed(py, "tls_certificate", problem));
            }
        };
        let options = Options {
            address: text(&address, "address")?.to_owned(),
            token: given(token.as_ref(), "token")?,
            timeout: convert::duration(&timeout, "timeout")?,
            tls_ca,
            tls_identity,
        };
        Self::open(py, options)
    }

    /// The address of the server.
    #[getter]
    fn address(&self) -> &str {
        &self.options.address
    }

    /// The same connection with another deadline for each call.
    fn with_timeout(&self, py: Python<'_>, timeout: Bound<'_, PyAny>) -> PyResult<Self> {
        let timeout = convert::duration(&timeout, "timeout")?;
        let client = self.client(py)?;
        let client = Own::new(client.with_timeout(timeout));
        let options = Options { timeout, ..self.options.clone() };
        Ok(Self { options, client: Mutex::new(State::Open(client)) })
    }

    /// Closes it. What is under way goes on; nothing new is begun.
    fn close(&self) {
        let mut state = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::Closed;
    }

    fn check_health(&self, py: Python<'_>, service: Text<'_>) -> PyResult<Call> {
        let service = text(&service, "service")?.to_owned();
        self.call(py, |client| async move { client.check_health(&service).await }, Ok)
    }

    fn enroll(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        session_id: Text<'_>,
        account_name: Option<Text<'_>>,
        request_id: Option<Text<'_>>,
        ip_address: Option<Text<'_>>,
        user_agent: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let request = v1::EnrollRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            session_id: text(&session_id, "session_id")?.to_owned(),
            account_name: optional(account_name.as_ref(), "account_name")?,
            request_id: optional(request_id.as_ref(), "request_id")?,
            client: client(ip_address.as_ref(), user_agent.as_ref())?,
        };
        self.call(
            py,
            |client| async move { client.enroll(request).await },
            |answer| {
                let v1::EnrollResponse { secret, otpauth_uri, qr_svg, expire_time } = answer;
                Ok((secret, otpauth_uri, qr_svg, Time(expire_time)))
            },
        )
    }

    fn confirm_enrollment(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        session_id: Text<'_>,
        totp_code: Text<'_>,
        request_id: Option<Text<'_>>,
        ip_address: Option<Text<'_>>,
        user_agent: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let request = v1::ConfirmEnrollmentRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            session_id: text(&session_id, "session_id")?.to_owned(),
            totp_code: text(&totp_code, "totp_code")?.to_owned(),
            request_id: optional(request_id.as_ref(), "request_id")?,
            client: client(ip_address.as_ref(), user_agent.as_ref())?,
        };
        self.call(
            py,
            |client| async move { client.confirm_enrollment(request).await },
            |answer| {
                let (enroll_time, made) = (answer.enroll_time, answer.recovery_key_create_time);
                Ok((answer.recovery_key, Time(made), Time(enroll_time)))
            },
        )
    }

    fn unenroll(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        session_id: Text<'_>,
        request_id: Option<Text<'_>>,
        ip_address: Option<Text<'_>>,
        user_agent: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let request = v1::UnenrollRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            session_id: text(&session_id, "session_id")?.to_owned(),
            request_id: optional(request_id.as_ref(), "request_id")?,
            client: client(ip_address.as_ref(), user_agent.as_ref())?,
        };
        self.call(py, |client| async move { client.unenroll(request).await }, done)
    }

    fn describe_user(&self, py: Python<'_>, user_id: Text<'_>) -> PyResult<Call> {
        let request = v1::DescribeUserRequest { user_id: text(&user_id, "user_id")?.to_owned() };
        self.call(
            py,
            |client| async move { client.describe_user(request).await },
            |answer| {
                Ok((
                    answer.enrolled,
                    Time(answer.enroll_time),
                    Time(answer.pending_expire_time),
                    Time(answer.recovery_key_create_time),
                    answer.recovery_key_acknowledged,
                    answer.has_password,
                    convert::counter(answer.second_factor_backoff),
                    convert::counter(answer.password_backoff),
                ))
            },
        )
    }

    fn evaluate_login(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        authorities: Vec<Text<'_>>,
        channel: Text<'_>,
        resource: Option<Text<'_>>,
        request_id: Option<Text<'_>>,
        ip_address: Option<Text<'_>>,
        user_agent: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let authorities = authorities.iter().map(|authority| text(authority, "authorities"));
        let channel = format!("LOGIN_CHANNEL_{}", text(&channel, "channel")?);
        let Some(channel) = v1::LoginChannel::from_str_name(&channel) else {
            return Err(convert::malformed(py, "channel", "must be one of LoginChannel"));
        };
        let request = v1::EvaluateLoginRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            authorities: authorities
                .map(|text| text.map(str::to_owned))
                .collect::<PyResult<_>>()?,
            channel: channel.into(),
            resource: optional(resource.as_ref(), "resource")?,
            client: client(ip_address.as_ref(), user_agent.as_ref())?,
            request_id: optional(request_id.as_ref(), "request_id")?,
        };
        self.call(
            py,
            |client| async move { client.evaluate_login(request).await },
            |answer| {
                let decision = convert::decision(answer.decision)?;
                Ok((decision, answer.reason, answer.notify, answer.remind_recovery_key))
            },
        )
    }

    fn verify(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        session_id: Option<Text<'_>>,
        totp_code: Option<Text<'_>>,
        recovery_key: Option<Text<'_>>,
        request_id: Option<Text<'_>>,
        ip_address: Option<Text<'_>>,
        user_agent: Option<Text<'_>>,
    ) -> PyResult<Call> {
        use verify_request::Credential;
        let credentials = [
            given(totp_code.as_ref(), "totp_code")?.map(Credential::TotpCode),
            given(recovery_key.as_ref(), "recovery_key")?.map(Credential::RecoveryKey),
        ];
        let request = v1::VerifyRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            session_id: optional(session_id.as_ref(), "session_id")?,
            credential: one_of(py, credentials)?,
            request_id: optional(request_id.as_ref(), "request_id")?,
            client: client(ip_address.as_ref(), user_agent.as_ref())?,
        };
        self.call(
            py,
            |client| async move { client.verify(request).await },
            |answer| {
                let elevation = answer.elevation.map(convert::elevation);
                let how = convert::method(answer.method).unwrap_or("UNKNOWN");
                let key = key(answer.recovery_key, answer.recovery_key_create_time);
                Ok((how, Time(answer.verify_time), key, elevation))
            },
        )
    }

    fn elevate(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        session_id: Text<'_>,
        totp_code: Option<Text<'_>>,
        recovery_key: Option<Text<'_>>,
        password: Option<Text<'_>>,
        password_hash: Option<Text<'_>>,
        asserted: Option<Text<'_>>,
        request_id: Option<Text<'_>>,
        ip_address: Option<Text<'_>>,
        user_agent: Option<Text<'_>>,
    ) -> PyResult<Call> {
        use elevate_request::Credential;
        let password_hash = given(password_hash.as_ref(), "password.password_hash")?;
        let password = given(password.as_ref(), "password.password")?;
        if password.is_none() && password_hash.is_some() {
            let problem = "must come together with the password";
            return Err(convert::malformed(py, "password.password_hash", problem));
        }
        let password = password.map(|password| v1::PasswordCredential {
            password,
            password_hash: password_hash.unwrap_or_default(),
        });
        let asserted = given(asserted.as_ref(), "asserted.how")?;
        let credentials = [
            given(totp_code.as_ref(), "totp_code")?.map(Credential::TotpCode),
            given(recovery_key.as_ref(), "recovery_key")?.map(Credential::RecoveryKey),
            password.map(Credential::Password),
            asserted.map(|how| Credential::Asserted(v1::AssertedCredential { how })),
        ];
        let request = v1::ElevateRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            session_id: text(&session_id, "session_id")?.to_owned(),
            credential: one_of(py, credentials)?,
            request_id: optional(request_id.as_ref(), "request_id")?,
            client: client(ip_address.as_ref(), user_agent.as_ref())?,
        };
        self.call(
            py,
            |client| async move { client.elevate(request).await },
            |answer| {
                let elevation = convert::elevation(answer.elevation.unwrap_or_default());
                Ok((elevation, key(answer.recovery_key, answer.recovery_key_create_time)))
            },
        )
    }

    fn check_elevation(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        session_id: Text<'_>,
        max_age: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Call> {
        let max_age = max_age.map(|age| convert::duration(&age, "max_age")).transpose()?;
        let max_age = max_age.map(prost_types::Duration::try_from).transpose();
        let request = v1::CheckElevationRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            session_id: text(&session_id, "session_id")?.to_owned(),
            max_age: max_age.map_err(|_| convert::malformed(py, "max_age", "is too long"))?,
        };
        self.call(
            py,
            |client| async move { client.check_elevation(request).await },
            |answer| Ok(convert::elevation(answer.elevation.unwrap_or_default())),
        )
    }

    fn drop_elevation(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        session_id: Option<Text<'_>>,
        all_sessions: bool,
    ) -> PyResult<Call> {
        let request = v1::DropElevationRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            session_id: optional(session_id.as_ref(), "session_id")?,
            all_sessions,
        };
        self.call(py, |client| async move { client.drop_elevation(request).await }, done)
    }

    fn rotate_recovery_key(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        session_id: Text<'_>,
        request_id: Option<Text<'_>>,
        ip_address: Option<Text<'_>>,
        user_agent: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let request = v1::RotateRecoveryKeyRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            session_id: text(&session_id, "session_id")?.to_owned(),
            request_id: optional(request_id.as_ref(), "request_id")?,
            client: client(ip_address.as_ref(), user_agent.as_ref())?,
        };
        self.call(
            py,
            |client| async move { client.rotate_recovery_key(request).await },
            |answer| Ok((answer.recovery_key, Time(answer.recovery_key_create_time))),
        )
    }

    fn acknowledge_recovery_key(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        recovery_key_create_time: Bound<'_, PyDateTime>,
    ) -> PyResult<Call> {
        let field = "recovery_key_create_time";
        let request = v1::AcknowledgeRecoveryKeyRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            recovery_key_create_time: Some(convert::timestamp(&recovery_key_create_time, field)?),
        };
        self.call(py, |client| async move { client.acknowledge_recovery_key(request).await }, done)
    }

    fn set_password(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        password: Option<Text<'_>>,
        password_hash: Option<Text<'_>>,
    ) -> PyResult<Call> {
        use set_password_request::Verifier;
        let verifiers = [
            given(password.as_ref(), "password")?.map(Verifier::Password),
            given(password_hash.as_ref(), "password_hash")?.map(Verifier::PasswordHash),
        ];
        let request = v1::SetPasswordRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            verifier: one_of(py, verifiers)?,
        };
        self.call(py, |client| async move { client.set_password(request).await }, done)
    }

    fn clear_password(&self, py: Python<'_>, user_id: Text<'_>) -> PyResult<Call> {
        let request = v1::ClearPasswordRequest { user_id: text(&user_id, "user_id")?.to_owned() };
        self.call(py, |client| async move { client.clear_password(request).await }, done)
    }

    fn unenroll_user(
        &self,
        py: Python<'_>,
        admin_user_id: Text<'_>,
        totp_code: Text<'_>,
        user_id: Text<'_>,
        request_id: Option<Text<'_>>,
        ip_address: Option<Text<'_>>,
        user_agent: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let request = v1::UnenrollUserRequest {
            admin_user_id: text(&admin_user_id, "admin_user_id")?.to_owned(),
            totp_code: text(&totp_code, "totp_code")?.to_owned(),
            user_id: text(&user_id, "user_id")?.to_owned(),
            request_id: optional(request_id.as_ref(), "request_id")?,
            client: client(ip_address.as_ref(), user_agent.as_ref())?,
        };
        self.call(py, |client| async move { client.unenroll_user(request).await }, done)
    }

    fn clear_backoff(
        &self,
        py: Python<'_>,
        admin_user_id: Text<'_>,
        totp_code: Text<'_>,
        user_id: Text<'_>,
        request_id: Option<Text<'_>>,
        ip_address: Option<Text<'_>>,
        user_agent: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let request = v1::ClearBackoffRequest {
            admin_user_id: text(&admin_user_id, "admin_user_id")?.to_owned(),
            totp_code: text(&totp_code, "totp_code")?.to_owned(),
            user_id: text(&user_id, "user_id")?.to_owned(),
            request_id: optional(request_id.as_ref(), "request_id")?,
            client: client(ip_address.as_ref(), user_agent.as_ref())?,
        };
        self.call(py, |client| async move { client.clear_backoff(request).await }, done)
    }

    fn import_enrollment(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        otpauth_uri: Text<'_>,
        issue_recovery_key: bool,
        request_id: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let request = v1::ImportEnrollmentRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            otpauth_uri: text(&otpauth_uri, "otpauth_uri")?.to_owned(),
            request_id: optional(request_id.as_ref(), "request_id")?,
            issue_recovery_key,
        };
        self.call(
            py,
            |client| async move { client.import_enrollment(request).await },
            |answer| Ok(key(answer.recovery_key, answer.recovery_key_create_time)),
        )
    }

    fn watch_events(&self, py: Python<'_>, after_event_id: Option<Text<'_>>) -> PyResult<Call> {
        let after_event_id = optional(after_event_id.as_ref(), "after_event_id")?;
        let request = v1::WatchEventsRequest { after_event_id };
        self.call(
            py,
            |client| async move { client.watch_events(request).await },
            |stream| Ok(Watch::new(stream)),
        )
    }

    fn erase_user(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        request_id: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let request = v1::EraseUserRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            request_id: optional(request_id.as_ref(), "request_id")?,
        };
        self.call(py, |client| async move { client.erase_user(request).await }, done)
    }

    fn reset_user(
        &self,
        py: Python<'_>,
        user_id: Text<'_>,
        why: Text<'_>,
        request_id: Option<Text<'_>>,
    ) -> PyResult<Call> {
        let request = v1::ResetUserRequest {
            user_id: text(&user_id, "user_id")?.to_owned(),
            why: text(&why, "why")?.to_owned(),
            request_id: optional(request_id.as_ref(), "request_id")?,
        };
        self.call(py, |client| async move { client.reset_user(request).await }, done)
    }
}

/// The one that was given; where there is none, the server says what is missing.
fn one_of<T, const N: usize>(py: Python<'_>, choices: [Option<T>; N]) -> PyResult<Option<T>> {
    let mut given = choices.into_iter().flatten();
    let first = given.next();
    if given.next().is_some() {
        return Err(convert::malformed(py, "credential", "must be given once, in one form"));
    }
    Ok(first)
}
