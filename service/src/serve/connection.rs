//! What a connection may cost before its calls are known: those that never begin, never go on, or
//! stop being heard of.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may take for the handshake of TLS, and after it to begin, which is to send as many
/// bytes as HTTP/2 does at the least, and as a call over HTTP/1 does. A client that means to call does so
/// in one packet; one that holds sockets open does not.
pub const TO_BEGIN: Duration = Duration::from_secs(10);

/// How often a client that says nothing is asked whether it is still there (a ping of HTTP/2, which
/// every client answers by itself).
pub const PING_INTERVAL: Duration = Duration::from_secs(30);

/// How long it may take to answer that.
pub const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a connection may be silent, in both directions. Whoever answers pings never is for so long, so
/// this ends the connections that cannot be pinged: of HTTP/1 the idle ones and those that take no
/// answers. An answer that goes on by itself, as a stream of events does, keeps its connection.
const IDLE: Duration = Duration::from_secs(90);

/// The preface of HTTP/2 (RFC 9113 section 3.4).
const BEGUN_BYTES: usize = 24;

/// A connection that fails when nothing has passed through it for too long.
pub struct Patient<IO> {
    io: IO,
    bytes: usize,
    heard: Instant,
    end: Pin<Box<Sleep>>,
    // hyper waits for the preface even when it is told to close, so a connection without one would keep
    // a stopping server. It is there until the connection has begun.
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<IO> Patient<IO> {
    /// When the sender of `stopped` is dropped, there is no patience left for one that has not begun.
    pub fn new(io: IO, mut stopped: watch::Receiver<()>) -> Self {
        let heard = Instant::now();
        let stopping = async move {
            let _ = stopped.changed().await;
        };
        let end = Box::pin(sleep_until(heard + TO_BEGIN));
        Self { io, bytes: 0, heard, end, stopping: Some(Box::pin(stopping)) }
    }

    /// The connection itself.
    pub fn io(&self) -> &IO {
        &self.io
    }

    fn is_unwanted(&mut self, context: &mut Context<'_>) -> bool {
        self.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(context).is_ready())
    }

    /// Ready when the patience is over. The timer is moved when it fires and not at every read, which
    /// would cost each call.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            ready!(self.end.as_mut().poll(context));
            let end = self.heard + IDLE;
            if self.bytes < BEGUN_BYTES || end <= Instant::now() {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.end.as_mut().reset(end);
        }
    }

    /// What became of a write: one that went through is a sign of life, one that waits may wait for ever.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.heard = Instant::now();
            return written;
        }
        self.poll_end(context).map(Err)
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.io).poll_read(context, buffer) {
            self.bytes = self.bytes.saturating_add(buffer.filled().len() - before);
            self.heard = Instant::now();
            if self.bytes >= BEGUN_BYTES {
                self.stopping = None;
            }
            return Poll::Ready(read);
        }
        if self.is_unwanted(context) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.poll_end(context).map(Err)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::sleep;

    async fn read(patient: &mut Patient<impl AsyncRead + Unpin>) -> io::Result<usize> {
        patient.read(&mut [0; 64]).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_begin_is_dropped_however_it_dawdles() {
        let (mut client, server) = duplex(64);
        let (_stopping, stopped) = watch::channel(());
        let mut patient = Patient::new(server, stopped);
        let begin = Instant::now();
        let dawdle = tokio::spawn(async move {
            for _ in 0..20 {
                client.write_all(b"P").await.expect("open");
                sleep(Duration::from_secs(1)).await;
            }
        });
        let error = loop {
            match read(&mut patient).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() >= TO_BEGIN && begin.elapsed() < TO_BEGIN * 2);
        dawdle.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_heard_of_now_and_then_stays() {
        let (mut client, server) = duplex(64);
        let (_stopping, stopped) = watch::channel(());
        let mut patient = Patient::new(server, stopped);
        client.write_all(&[0; BEGUN_BYTES]).await.expect("open");
        assert_eq!(read(&mut patient).await.expect("bytes"), BEGUN_BYTES);
        let talk = tokio::spawn(async move {
            for _ in 0..5 {
                sleep(IDLE - Duration::from_secs(1)).await;
                client.write_all(b"x").await.expect("open");
            }
            client
        });
        for _ in 0..5 {
            assert_eq!(read(&mut patient).await.expect("a byte"), 1);
        }
        let _client = talk.await.expect("it ends");
        let silent = Instant::now();
        assert_eq!(read(&mut patient).await.expect_err("silence").kind(), io::ErrorKind::TimedOut);
        assert!(silent.elapsed() >= IDLE - Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_written_to_now_and_then_stays_until_it_reads_nothing() {
        let (mut client, server) = duplex(64);
        let (_stopping, stopped) = watch::channel(());
        let mut patient = Patient::new(server, stopped);
        client.write_all(&[0; BEGUN_BYTES]).await.expect("open");
        read(&mut patient).await.expect("bytes");
        for _ in 0..5 {
            sleep(IDLE - Duration::from_secs(1)).await;
            patient.write_all(b"event").await.expect("open");
            let silence = tokio::time::timeout(Duration::from_secs(2), read(&mut patient)).await;
            assert!(silence.is_err(), "it ended: {silence:?}");
        }
        let error = patient.write_all(&[0; 64]).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stopping_server_waits_for_those_that_have_begun_alone() {
        let (mut client, server) = duplex(64);
        let (stopping, stopped) = watch::channel(());
        let mut begun = Patient::new(server, stopped.clone());
        client.write_all(&[0; BEGUN_BYTES]).await.expect("open");
        read(&mut begun).await.expect("bytes");
        let (_other, server) = duplex(64);
        let mut unbegun = Patient::new(server, stopped);
        let (error, ()) = tokio::join!(read(&mut unbegun), async { drop(stopping) });
        assert_eq!(error.expect_err("cut").kind(), io::ErrorKind::ConnectionAborted);
        client.write_all(b"x").await.expect("open");
        assert_eq!(read(&mut begun).await.expect("a byte"), 1);
    }
}
