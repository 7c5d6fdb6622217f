//! The gRPC interface. It speaks from the API's descriptors, so that a scenario can say whatever the API
//! can, and checks that every failure says the same in its details and in its plain trailers.

use super::{Refusal, Runner, api};
use crate::Server;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use std::time::Duration;
use tonic::client::Grpc as Connection;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

/// A connection to a server.
#[derive(Clone)]
pub struct Grpc(pub Channel);

impl Runner for Grpc {
    const NAME: &str = "grpc";

    async fn connect(server: &Server) -> Result<Self> {
        Ok(Self(server.channel().await))
    }

    async fn call(
        &self,
        name: &str,
        token: Option<&str>,
        fields: Map<String, Value>,
    ) -> Result<Result<Value, Refusal>> {
        let method = api::method(name)?;
        let path = format!("/{}/{name}", method.parent_service().full_name());
        let mut request = Request::new(api::encode(&method, fields)?);
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
        }
        let mut connection = Connection::new(self.0.clone());
        connection.ready().await?;
        match connection.unary(request, PathAndQuery::try_from(path)?, Bytes).await {
            Ok(answer) => Ok(Ok(api::decode(&method, &answer.into_inner())?)),
            Err(status) => refusal(&status).with_context(|| format!("{status:?}")).map(Err),
        }
    }
}

/// What a failure says, which it must say in two ways: in its details and in its trailers.
fn refusal(status: &Status) -> Result<Refusal> {
    let details = status.get_error_details();
    let info = details.error_info().context("no ErrorInfo")?;
    ensure!(info.domain == "twinlock", "the domain is {}", info.domain);
    let trailer = |name: &str| -> Result<Option<&str>> {
        let value = status.metadata().get(name);
        Ok(value.map(|value| value.to_str()).transpose()?)
    };
    let reason = trailer("twinlock-reason")?;
    ensure!(reason == Some(&*info.reason), "the trailer twinlock-reason says {reason:?}");
    let retry_after = match details.retry_info() {
        Some(info) => Some(info.retry_delay.context("RetryInfo says no time")?),
        None => None,
    };
    let millis = trailer("twinlock-retry-after-ms")?.map(str::parse::<u64>).transpose()?;
    let told = millis.map(Duration::from_millis);
    ensure!(told == retry_after, "twinlock-retry-after-ms says {told:?}");
    let violations = details.bad_request().map(|bad| &bad.field_violations[..]).unwrap_or_default();
    ensure!(
        violations.iter().all(|violation| !violation.description.is_empty()),
        "a field is named, but not what is wrong with it"
    );
    Ok(Refusal {
        code: code_name(status.code()),
        reason: info.reason.clone(),
        message: status.message().into(),
        retry_after,
        fields: violations.iter().map(|violation| violation.field.clone()).collect(),
    })
}

/// The name of a code as the gRPC specification writes it.
pub fn code_name(code: Code) -> String {
    let mut name = String::new();
    for character in format!("{code:?}").chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(character.to_uppercase());
    }
    name
}

/// Messages that are bytes already.
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; prost::bytes::Buf::remaining(buffer)];
        prost::bytes::Buf::copy_to_slice(buffer, &mut bytes);
        Ok(Some(bytes))
    }
}
