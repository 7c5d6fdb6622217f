//! Long work whose answer comes in many parts.

use crate::grpc::status;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::Status;

/// How many parts may wait for the client.
const AHEAD: usize = 2;
/// How long a client may take none. Work that waits for it holds a view of the store, whose space is not
/// used again meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer in many parts.
pub type Parts<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Where the parts go to.
pub struct Sender<T>(mpsc::Sender<T>);

impl<T> Sender<T> {
    /// Hands over a part, as soon as the client has taken those before it.
    pub async fn send(&self, part: T) -> Result<(), Status> {
        match tokio::time::timeout(PATIENCE, self.0.send(part)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::cancelled("The client went away.")),
            Err(_) => Err(Status::aborted("The client took nothing for a minute. Begin again.")),
        }
    }
}

/// Does work that hands over parts; it ends with the client, or with the status that `revoked` ends with.
pub fn stream<T, Work>(
    permit: OwnedSemaphorePermit,
    revoked: impl Future<Output = Status> + Send + 'static,
    work: impl FnOnce(Sender<T>) -> Work,
) -> Parts<T>
where
    T: Send + 'static,
    Work: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(AHEAD);
    let work = work(Sender(sender));
    let task = tokio::spawn(async move {
        let _permit = permit;
        tokio::select! {
            biased;
            status = revoked => Err(status),
            ended = work => ended,
        }
    });
    Box::pin(futures_util::stream::try_unfold((receiver, Some(task)), relay))
}

type State<T> = (mpsc::Receiver<T>, Option<JoinHandle<Result<(), Status>>>);

/// The next part, or how the work ended.
async fn relay<T>((mut parts, mut task): State<T>) -> Result<Option<(T, State<T>)>, Status> {
    if let Some(part) = parts.recv().await {
        return Ok(Some((part, (parts, task))));
    }
    match task.take() {
        None => Ok(None),
        Some(task) => match task.await {
            Ok(ended) => ended.map(|()| None),
            Err(_) => {
                Err(status::from_error(&twinlock_engine::Error::Internal("long work was aborted")))
            }
        },
    }
}
