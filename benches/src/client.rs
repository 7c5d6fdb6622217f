//! A client that costs little, so that the servers' share of the machine is as large as it can be: gRPC
//! over bare HTTP/2.

use anyhow::{Context as _, Result, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, HeaderMap, TE};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderValue, Request};
use prost::Message;
use std::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// gRPC's head of a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// A connection, which may be cloned to call at the same time.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    authority: Authority,
}

/// How a call ended.
pub enum Answer {
    /// With a message.
    Success(Bytes),
    /// With this reason of Twinlock's, or the status of gRPC or HTTP.
    Refused(String),
}

impl Connection {
    /// Connects to a port of loopback.
    pub async fn open(port: u16) -> Result<Self> {
        Self::over(connect(port).await?, port).await
    }

    /// Connects to it with TLS.
    pub async fn open_with_tls(port: u16, tls: &TlsConnector) -> Result<Self> {
        let name = ServerName::try_from("localhost")?;
        Self::over(tls.connect(name, connect(port).await?).await?, port).await
    }

    async fn over<S>(socket: S, port: u16) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, connection) = h2::client::handshake(socket).await?;
        // It ends with the server or with the last sender; whoever calls then hears of it.
        tokio::spawn(connection);
        Ok(Self { sender, authority: format!("127.0.0.1:{port}").parse()? })
    }

    /// Calls a method, by its path.
    pub async fn call(&mut self, path: &'static str, message: &impl Message) -> Result<Answer> {
        let length = message.encoded_len();
        let mut frame = BytesMut::with_capacity(HEAD + length);
        frame.put_u8(0);
        frame.put_u32(u32::try_from(length)?);
        message.encode(&mut frame)?;
        let uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(PathAndQuery::from_static(path))
            .build()?;
        let request = Request::post(uri)
            .header(TE, HeaderValue::from_static("trailers"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .body(())?;
        poll_fn(|context| self.sender.poll_ready(context)).await?;
        let (response, mut stream) = self.sender.send_request(request, false)?;
        stream.send_data(frame.freeze(), true)?;
        let (head, mut body) = response.await?.into_parts();
        let mut message = BytesMut::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            message.extend_from_slice(&data);
        }
        // A refusal may be the head alone.
        let trailers = body.trailers().await?.unwrap_or(head.headers);
        match text(&trailers, "grpc-status").context("an answer without a status")? {
            "0" if message.len() >= HEAD => Ok(Answer::Success(message.freeze().slice(HEAD..))),
            "0" => bail!("a success without a message"),
            status => {
                let reason = text(&trailers, "twinlock-reason").unwrap_or(status);
                Ok(Answer::Refused(reason.to_owned()))
            }
        }
    }
}

async fn connect(port: u16) -> Result<TcpStream> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
