//! How the server reads requests.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_prost::{ProstCodec, ProstEncoder};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The room that a message has from the start. Nearly all are shorter, and longer ones get more. tonic's own is 8 kB,
/// once for a request and once for its answer.
const ROOM: usize = 512;
/// How much of a stream is gathered before it is written, as tonic has it.
const GATHERED: usize = 32 * 1024;

/// The codec of the generated servers: tonic's own, except that a request that is not the message
/// it should be (truncated, or with a text that is not UTF-8) fails with `INVALID_ARGUMENT` and
/// the reason `INVALID_REQUEST`. tonic would call it `INTERNAL`, as if the server were at fault.
#[derive(Debug)]
pub struct RequestCodec<Answer, Request>(PhantomData<(Answer, Request)>);

impl<Answer, Request> Default for RequestCodec<Answer, Request> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Answer, Request> Codec for RequestCodec<Answer, Request>
where
    Answer: Message + Send + 'static,
    Request: Message + Default + Send + 'static,
{
    type Encode = Answer;
    type Decode = Request;
    type Encoder = ProstEncoder<Answer>;
    type Decoder = RequestDecoder<Request>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<Answer, Request>::raw_encoder(settings())
    }

    fn decoder(&mut self) -> Self::Decoder {
        RequestDecoder(PhantomData)
    }
}

/// The decoder of [`RequestCodec`].
#[derive(Debug)]
pub struct RequestDecoder<Request>(PhantomData<Request>);

impl<Request: Message + Default> Decoder for RequestDecoder<Request> {
    type Item = Request;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Request>, Status> {
        match Request::decode(buffer) {
            Ok(request) => Ok(Some(request)),
            Err(error) => Err(undecodable(&error.to_string())),
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

fn settings() -> BufferSettings {
    BufferSettings::new(ROOM, GATHERED)
}

/// prost's texts name message types and fields and quote nothing of what was sent.
fn undecodable(error: &str) -> Status {
    let description = error.strip_prefix("failed to decode Protobuf message: ").unwrap_or(error);
    let message = format!(
        "The request is not a valid protobuf message: {description}. \
         Build it with the message types of package twinlock.v1."
    );
    let mut details = ErrorDetails::with_error_info("INVALID_REQUEST", "twinlock", []);
    details.add_bad_request_violation(field_path(description), description);
    let mut trailers = MetadataMap::new();
    trailers.insert("twinlock-reason", MetadataValue::from_static("INVALID_REQUEST"));
    Status::with_error_details_and_metadata(Code::InvalidArgument, message, details, trailers)
}

/// `"ClientContext.ip_address: VerifyRequest.client: not UTF-8"` is about `client.ip_address`: prost
/// names the innermost field first.
fn field_path(description: &str) -> String {
    let names = description.split(": ").map_while(|part| {
        let (message, field) = part.split_once('.')?;
        let plain = |name: &str| !name.is_empty() && !name.contains(char::is_whitespace);
        (plain(message) && plain(field)).then_some(field)
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names.join(".")
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::v1::VerifyRequest;

    fn refusal<Request: Message + Default + std::fmt::Debug>(bytes: &[u8]) -> Status {
        let error = Request::decode(bytes).expect_err("the bytes are no message");
        undecodable(&error.to_string())
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_the_callers_fault_and_names_the_field() {
        let status = refusal::<VerifyRequest>(&[0x0a, 2, 0xff, 0xfe]);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.metadata().get("twinlock-reason").unwrap(), "INVALID_REQUEST");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_REQUEST", "twinlock"));
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "user_id");
    }

    #[test]
    fn the_path_of_a_nested_field_is_named() {
        let status = refusal::<VerifyRequest>(&[0x32, 3, 0x0a, 1, 0xff]);
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "client.ip_address");
    }

    #[test]
    fn a_truncated_message_is_the_callers_fault() {
        let bytes = VerifyRequest { user_id: "alice".into(), ..Default::default() }.encode_to_vec();
        let status = refusal::<VerifyRequest>(&bytes[..bytes.len() - 1]);
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(!status.message().contains("alic"), "{}", status.message());
    }
}
