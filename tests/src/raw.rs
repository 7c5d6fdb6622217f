//! HTTP/2 without the manners of a gRPC client: any path, any header, any bytes.

use crate::Server;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, StatusCode};
use prost::Message;
use tokio::net::TcpStream;

/// The path of Verify.
pub const VERIFY: &str = "/twinlock.v1.TwoStepService/Verify";

/// One connection.
#[derive(Clone)]
pub struct Raw {
    send: SendRequest<Bytes>,
    authority: String,
}

/// What a call came back with.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub http: StatusCode,
    /// The headers and the trailers together.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header or trailer as text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Raw {
    /// Connects to a server without TLS.
    pub async fn connect(server: &Server) -> Self {
        let authority = server.authority();
        let stream = TcpStream::connect(authority).await.expect("a connection");
        let (send, connection) = h2::client::Builder::new()
            .initial_max_send_streams(10_000)
            .handshake(stream)
            .await
            .expect("a handshake");
        // It ends with the test, or with an error that the calls see, too.
        tokio::spawn(connection);
        Self { send, authority: authority.into() }
    }

    /// Posts a body as if it were a gRPC call, with more headers.
    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, h2::Error> {
        let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
        self.post_as(path, &[&grpc, headers].concat(), body).await
    }

    /// Posts a body with these headers alone.
    pub async fn post_as(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let (answer, mut stream) = send.send_request(self.request(path, headers), false)?;
        stream.send_data(body.into(), true)?;
        let (head, body) = answer.await?.into_parts();
        collect(head, body).await
    }

    /// Opens a call, sends nothing of its body, and leaves it to the caller to end it.
    pub async fn open(&self, path: &str) -> Result<h2::SendStream<Bytes>, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
        let (_, stream) = send.send_request(self.request(path, &grpc), false)?;
        Ok(stream)
    }

    /// Opens a call and resets it at once.
    pub async fn open_and_reset(&self, path: &str) -> Result<(), h2::Error> {
        self.open(path).await?.send_reset(Reason::CANCEL);
        Ok(())
    }

    fn request(&self, path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::post(format!("http://{}{path}", self.authority));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request")
    }
}

async fn collect(head: http::response::Parts, mut body: RecvStream) -> Result<Answer, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    let mut headers = head.headers;
    headers.extend(body.trailers().await?.unwrap_or_default());
    Ok(Answer { http: head.status, headers, body: bytes })
}

/// A message in gRPC's frame: not compressed, its length, its bytes.
pub fn frame(message: &impl Message) -> Vec<u8> {
    frame_bytes(0, &message.encode_to_vec())
}

/// Any bytes in gRPC's frame, with any flag.
pub fn frame_bytes(flag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a length").to_be_bytes();
    [&[flag], &length[..], bytes].concat()
}
