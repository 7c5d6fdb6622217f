//! How long the body of a request may take to arrive.

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};
use tonic::Status;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body that fails where it does not arrive in time.
///
/// A call's own deadline counts once its request is complete. Nearly all requests are as soon as they are asked for, so
/// the timer is set for the others alone.
pub struct Arriving<B> {
    body: B,
    limit: Duration,
    end: Option<Pin<Box<Sleep>>>,
}

impl<B> Arriving<B> {
    /// It may take so long from when it is first waited for.
    pub fn new(body: B, limit: Duration) -> Self {
        Self { body, limit, end: None }
    }
}

impl<B> http_body::Body for Arriving<B>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let arrived = Pin::new(&mut self.body).poll_frame(context);
        if arrived.is_ready() {
            return arrived.map_err(|error| Status::from_error(error.into()));
        }
        let limit = self.limit;
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(end.as_mut().poll(context));
        // The client is at fault, and not the server.
        Poll::Ready(Some(Err(Status::cancelled("The request did not arrive in time."))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;
    use tokio::time::Instant;
    use tokio_stream::wrappers::ReceiverStream;
    use tonic::body::Body;

    const LIMIT: Duration = Duration::from_secs(6);

    /// Sends a byte a second; the body ends after so many.
    fn dawdling(bytes: usize) -> Arriving<Body> {
        let (send, frames) = mpsc::channel(1);
        tokio::spawn(async move {
            for _ in 0..bytes {
                let byte = Frame::data(Bytes::from_static(b"x"));
                let _ = send.send(Ok::<_, Status>(byte)).await;
                sleep(Duration::from_secs(1)).await;
            }
        });
        Arriving::new(Body::new(StreamBody::new(ReceiverStream::new(frames))), LIMIT)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_arrives_in_time_is_whole() {
        assert_eq!(dawdling(5).collect().await.expect("a body").to_bytes(), "xxxxx");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_fails_however_it_dawdles() {
        let begin = Instant::now();
        let error = dawdling(60).collect().await.expect_err("it is late");
        assert_eq!(error.code(), tonic::Code::Cancelled);
        assert!((LIMIT..LIMIT + Duration::from_secs(1)).contains(&begin.elapsed()));
    }
}
