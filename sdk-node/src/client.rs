//! The client of a server: every method starts a call and gives a promise of its outcome.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use napi::bindgen_prelude::{
    AsyncBlock, AsyncBlockBuilder, ToNapiValue, within_runtime_if_available,
};
use napi::{Env, Result};
use napi_derive::napi;
use tokio::sync::Semaphore;
use twinlock_client::{Client, Error, Options, Stream, TlsIdentity, proto};

use crate::answers::*;
use crate::cancellation::Cancellation;
use crate::failure::{Outcome, outcome};
use crate::requests::*;
use crate::time::milliseconds;

#[napi(object, object_to_js = false)]
pub struct ClientOptions {
    pub address: Option<String>,
    pub token: Option<String>,
    pub timeout_ms: Option<f64>,
    pub tls_ca: Option<String>,
    pub tls_certificate: Option<String>,
    pub tls_key: Option<String>,
}

impl TryFrom<ClientOptions> for Options {
    type Error = Error;

    fn try_from(given: ClientOptions) -> std::result::Result<Self, Error> {
        let default = Self::default();
        let identity = match (given.tls_certificate, given.tls_key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                Some(TlsIdentity { certificate: certificate.into(), key: key.into() })
            }
            _ => {
                let message = "tls.cert and tls.key belong together. Give both.";
                return Err(Error::invalid("tls", message.to_owned()));
            }
        };
        Ok(Self {
            address: given.address.unwrap_or(default.address),
            token: given.token,
            timeout: match given.timeout_ms {
                Some(number) => milliseconds("timeout", number)?,
                None => default.timeout,
            },
            tls_ca: given.tls_ca.map(Into::into),
            tls_identity: identity,
        })
    }
}

/// Prepares a client; nothing is connected yet.
#[napi(catch_unwind)]
pub fn connect(options: ClientOptions) -> Outcome<NativeClient> {
    let client = within_runtime_if_available(|| Client::connect_lazy(&options.try_into()?));
    outcome(client.map(|client| NativeClient {
        client: Mutex::new(Some(client)),
        answers: Arc::new(Semaphore::new(ANSWERS)),
    }))
}

/// How many answers go to JavaScript before it says that its event loop has had its turn: each takes some
/// microseconds of that thread.
const ANSWERS: usize = 32;

#[napi]
pub struct NativeClient {
    client: Mutex<Option<Client>>,
    /// The answers that may still go.
    answers: Arc<Semaphore>,
}

/// The methods: the API's name of each, the request as JavaScript gives it, and the answer as it gets it.
macro_rules! calls {
    ($($method:ident($request:ident) -> $answer:ident;)*) => {
        #[napi]
        impl NativeClient {
            $(
                #[napi(catch_unwind)]
                pub fn $method(
                    &self,
                    env: &Env,
                    request: $request,
                    timeout_ms: Option<f64>,
                    cancellation: Option<&Cancellation>,
                ) -> Result<AsyncBlock<Option<Outcome<$answer>>>> {
                    let client = self.client(timeout_ms);
                    self.start(env, cancellation, async move {
                        Ok(client?.$method(request.try_into()?).await?.into())
                    })
                }
            )*
        }
    };
}

calls! {
    enroll(EnrollRequest) -> EnrollResponse;
    confirm_enrollment(ConfirmEnrollmentRequest) -> ConfirmEnrollmentResponse;
    unenroll(UnenrollRequest) -> Empty;
    describe_user(DescribeUserRequest) -> DescribeUserResponse;
    verify(VerifyRequest) -> VerifyResponse;
    elevate(ElevateRequest) -> ElevateResponse;
    check_elevation(CheckElevationRequest) -> Elevation;
    drop_elevation(DropElevationRequest) -> Empty;
    rotate_recovery_key(RotateRecoveryKeyRequest) -> RecoveryKeyResponse;
    acknowledge_recovery_key(AcknowledgeRecoveryKeyRequest) -> Empty;
    set_password(SetPasswordRequest) -> Empty;
    clear_password(ClearPasswordRequest) -> Empty;
    unenroll_user(UnenrollUserRequest) -> Empty;
    clear_backoff(ClearBackoffRequest) -> Empty;
    import_enrollment(ImportEnrollmentRequest) -> RecoveryKeyResponse;
    erase_user(EraseUserRequest) -> Empty;
    reset_user(ResetUserRequest) -> Empty;
}

#[napi]
impl NativeClient {
    /// Lets go of the connection, once no call uses it any more.
    #[napi(catch_unwind)]
    pub fn close(&self) {
        self.lock().take();
    }

    #[napi(catch_unwind)]
    pub fn evaluate_login(
        &self,
        env: &Env,
        request: EvaluateLoginRequest,
        timeout_ms: Option<f64>,
        cancellation: Option<&Cancellation>,
    ) -> Result<AsyncBlock<Option<Outcome<EvaluateLoginResponse>>>> {
        let client = self.client(timeout_ms);
        self.start(env, cancellation, async move {
            client?.evaluate_login(request.try_into()?).await?.try_into()
        })
    }

    #[napi(catch_unwind)]
    pub fn check_health(
        &self,
        env: &Env,
        request: CheckHealthRequest,
        timeout_ms: Option<f64>,
        cancellation: Option<&Cancellation>,
    ) -> Result<AsyncBlock<Option<Outcome<bool>>>> {
        let client = self.client(timeout_ms);
        self.start(env, cancellation, async move {
            client?.check_health(&request.service.unwrap_or_default()).await
        })
    }

    /// Prepares a watch; nothing is sent before its first event is asked for.
    #[napi(catch_unwind)]
    pub fn watch_events(&self, request: WatchEventsRequest, timeout_ms: Option<f64>) -> Watch {
        Watch(Arc::new(tokio::sync::Mutex::new(State::Prepared(self.client(timeout_ms), request))))
    }

    /// Lets as many more answers go.
    #[napi(catch_unwind)]
    pub fn turned(&self, answers: u32) {
        self.answers.add_permits(answers as usize);
    }

    /// Starts a call, whose outcome goes when its turn has come.
    fn start<T: ToNapiValue + Send + 'static>(
        &self,
        env: &Env,
        cancellation: Option<&Cancellation>,
        call: impl Future<Output = std::result::Result<T, Error>> + Send + 'static,
    ) -> Result<AsyncBlock<Option<Outcome<T>>>> {
        let (outcome, answers) =
            (until(Cancellation::wait(cancellation), call), self.answers.clone());
        AsyncBlockBuilder::new(async move {
            let outcome = outcome.await;
            if let Ok(turn) = answers.acquire().await {
                turn.forget();
            }
            Ok(outcome)
        })
        .build(env)
    }

    fn client(&self, timeout_ms: Option<f64>) -> std::result::Result<Client, Error> {
        let client = self.lock().clone().ok_or_else(|| {
            Error::invalid("client", "This client is closed. Make a new one.".to_owned())
        })?;
        match timeout_ms {
            Some(number) => Ok(client.with_timeout(milliseconds("timeout", number)?)),
            None => Ok(client),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Client>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome of a call; none where it is cancelled first.
async fn until<T>(
    cancelled: impl Future<Output = ()>,
    call: impl Future<Output = std::result::Result<T, Error>>,
) -> Option<Outcome<T>> {
    tokio::select! {
        biased;
        answer = call => Some(outcome(answer)),
        () = cancelled => None,
    }
}

/// What happens, as it happens.
#[napi]
pub struct Watch(Arc<tokio::sync::Mutex<State>>);

enum State {
    Prepared(std::result::Result<Client, Error>, WatchEventsRequest),
    Open(Stream<proto::WatchEventsResponse>),
    Ended,
}

#[napi(object, object_from_js = false)]
pub struct Part {
    /// The next event; none after the last one.
    pub event: Option<Event>,
    /// Whether some are missing before the first one.
    pub missed_events: bool,
}

#[napi]
impl Watch {
    /// The next part. It is asked for one at a time.
    #[napi(catch_unwind)]
    pub fn next(
        &self,
        env: &Env,
        cancellation: Option<&Cancellation>,
    ) -> Result<AsyncBlock<Option<Outcome<Part>>>> {
        let state = self.0.clone();
        let part =
            until(Cancellation::wait(cancellation), async move { state.lock().await.next().await });
        AsyncBlockBuilder::new(async move { Ok(part.await) }).build(env)
    }

    /// Ends the call.
    #[napi(catch_unwind)]
    pub fn close(&self, env: &Env) -> Result<AsyncBlock<()>> {
        let state = self.0.clone();
        AsyncBlockBuilder::new(async move {
            *state.lock().await = State::Ended;
            Ok(())
        })
        .build(env)
    }
}

impl State {
    async fn next(&mut self) -> std::result::Result<Part, Error> {
        // What fails or is cancelled on the way is not asked again.
        let mut events = match std::mem::replace(self, Self::Ended) {
            Self::Prepared(client, request) => client?.watch_events(request.try_into()?).await?,
            Self::Open(events) => events,
            Self::Ended => return Ok(Part { event: None, missed_events: false }),
        };
        let event = events.next().await?.and_then(|part| part.event).map(Event::from);
        let missed_events = events.missed_events();
        if event.is_some() {
            *self = Self::Open(events);
        }
        Ok(Part { event, missed_events })
    }
}
