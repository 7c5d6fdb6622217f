//! What a request says, before the fields of its body are looked at.

use super::failure::Failure;
use super::request::{Client, Object};
use crate::input;
use axum::body::Body;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use tokio_stream::StreamExt;
use twinlock_core::{Malformed, UserId};
use twinlock_engine::Call;
use twinlock_engine::deadline::Deadline;
use zeroize::Zeroizing;

/// The header that names the administrator, in percent-encoding like an id in a path.
pub const ADMINISTRATOR: &str = "Twinlock-Admin";

/// The most bytes of a body: the longest fields together are a tenth of it.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// The most bytes of all headers.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// The most characters of a field that nobody knows, where an answer names it.
const MAX_NAMED: usize = 64;

/// A request whose caller is known.
pub struct Asked {
    pub call: Call,
    /// The user's id in percent-encoding.
    pub user: String,
    /// The administrator's id, where the call has one.
    pub administrator: Option<String>,
    pub body: Zeroizing<Vec<u8>>,
}

impl Asked {
    /// The fields of the body. An empty body is one without fields.
    pub fn fields<T: DeserializeOwned + Default>(&self) -> Result<T, Failure> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        let mut body = serde_json::Deserializer::from_slice(&self.body);
        let Object(fields) = serde_path_to_error::deserialize(&mut body).map_err(|error| {
            let path = error.path().to_string();
            unreadable(error.inner(), &path)
        })?;
        body.end().map_err(|error| unreadable(&error, "."))?;
        Ok(fields)
    }

    /// The call, with the id and the client context of its request.
    pub fn call(
        &self,
        request_id: Option<String>,
        client: Option<Object<Client>>,
    ) -> Result<Call, Failure> {
        let request_id = input::request_id(&request_id.unwrap_or_default())?;
        let Object(Client { ip_address, user_agent }) = client.unwrap_or_default();
        let client = input::client(ip_address.unwrap_or_default(), user_agent.unwrap_or_default());
        Ok(Call { request_id, client, ..self.call.clone() })
    }

    /// The user whom the path names.
    pub fn user(&self) -> Result<UserId, Failure> {
        let text = decode(self.user.as_bytes())
            .ok_or(Malformed { field: "user_id", problem: NOT_ENCODED })?;
        Ok(UserId::parse(&text)?)
    }

    /// The administrator whom the header names.
    pub fn administrator(&self) -> Result<UserId, Failure> {
        let text = self.administrator.as_deref().unwrap_or_default();
        UserId::parse(text)
            .map_err(|malformed| Malformed { field: "admin_user_id", ..malformed }.into())
    }
}

const NOT_ENCODED: &str = "must be UTF-8 in percent-encoding";

/// Refuses headers beyond their limit. Over HTTP/2 the transport does; HTTP/1 lets more pass.
pub fn check_size(headers: &HeaderMap) -> Result<(), Failure> {
    // A field counts as in HTTP/2 (RFC 9113 section 6.5.2).
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    if bytes > MAX_HEADER_BYTES {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Failure::unread(status, "The headers have more than 16 KiB."));
    }
    Ok(())
}

/// The administrator's id from the headers.
pub fn administrator(headers: &HeaderMap) -> Result<String, Failure> {
    let mut given = headers.get_all(ADMINISTRATOR).iter();
    let value = given.next().ok_or_else(Failure::no_administrator)?;
    let malformed = |problem| Malformed { field: "admin_user_id", problem };
    if given.next().is_some() {
        return Err(malformed("must be given once").into());
    }
    decode(value.as_bytes()).ok_or_else(|| malformed(NOT_ENCODED).into())
}

/// Reads the body, for no longer than the call may take, and no more of it than there may be.
pub async fn body(
    head: &Parts,
    body: Body,
    deadline: Deadline,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if head.method == Method::GET {
        return Ok(Zeroizing::default());
    }
    // A page in a browser may send other types to another site without permission.
    let content_type = head.headers.get(CONTENT_TYPE).map(|value| is_json(value.as_bytes()));
    if content_type == Some(false) {
        return Err(Failure::unsupported_type());
    }
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let announced = announced.and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > MAX_BODY_BYTES) {
        return Err(too_large());
    }
    let read = async {
        let mut bytes = Zeroizing::new(Vec::with_capacity(announced.unwrap_or_default()));
        let mut chunks = body.into_data_stream();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| {
                Failure::unread(StatusCode::BAD_REQUEST, "The body did not arrive as announced.")
            })?;
            if bytes.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(too_large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    let message = "The body did not arrive within the time that a call may take.";
    let late = |_| Failure::unread(StatusCode::REQUEST_TIMEOUT, message);
    let bytes = deadline.limit(read).await.map_err(late)??;
    if content_type.is_none() && !bytes.is_empty() {
        return Err(Failure::unsupported_type());
    }
    Ok(bytes)
}

fn too_large() -> Failure {
    Failure::unread(StatusCode::PAYLOAD_TOO_LARGE, "The body has more than 64 KiB.")
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// Decodes percent-encoding, once. A `%` that begins no byte was not encoded by whoever sent it, who
/// would mean somebody else as soon as two digits follow it.
fn decode(encoded: &[u8]) -> Option<String> {
    let is_encoded =
        |after: &[u8]| after.len() >= 2 && after[..2].iter().all(u8::is_ascii_hexdigit);
    if !encoded.split(|byte| *byte == b'%').skip(1).all(is_encoded) {
        return None;
    }
    percent_decode(encoded).decode_utf8().ok().map(|text| text.into_owned())
}

/// Says what is wrong with a body, without quoting what may be a secret.
fn unreadable(error: &serde_json::Error, path: &str) -> Failure {
    if error.classify() != Category::Data {
        let (line, column) = (error.line(), error.column());
        let message = format!("The body is no JSON: see line {line}, column {column}.");
        return Failure::invalid(message, None);
    }
    // The library tells its own errors apart by their text alone.
    let text = error.to_string();
    if let Some(rest) = text.strip_prefix("duplicate field `") {
        // It names a field of ours, and no text of the caller's.
        let field = rest.split('`').next().unwrap_or_default().to_owned();
        return Failure::invalid(format!("{field} must be given once."), Some(field));
    }
    if path == "." {
        return Failure::invalid("The body must be a JSON object.", None);
    }
    let field: String = path.chars().take(MAX_NAMED).collect();
    let problem = match text.starts_with("unknown field") {
        true => "is no field of this request",
        false => "is not of its type",
    };
    Failure::invalid(format!("{field} {problem}. Correct it and call again."), Some(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decoded_once() {
        for (encoded, decoded) in [
            ("alice", Some("alice")),
            ("a%2Fb", Some("a/b")),
            ("%252F", Some("%2F")),
            ("caf%C3%A9", Some("caf\u{e9}")),
            ("a+b", Some("a+b")),
            ("%ff", None),
            ("100%", None),
            ("100%a", None),
            ("%%41", None),
            ("%+1", None),
        ] {
            assert_eq!(decode(encoded.as_bytes()).as_deref(), decoded, "{encoded}");
        }
        assert_eq!(decode("caf\u{e9}".as_bytes()).as_deref(), Some("caf\u{e9}"));
    }

    #[test]
    fn json_is_json_whatever_its_parameters() {
        for json in ["application/json", "Application/JSON; charset=utf-8", "application/json ;x"] {
            assert!(is_json(json.as_bytes()), "{json}");
        }
        for other in ["", "text/plain", "application/jsonp", "application/x-www-form-urlencoded"] {
            assert!(!is_json(other.as_bytes()), "{other}");
        }
    }
}
