//! The bodies of requests: the messages of the API in proto3 JSON, without the ids that stand in the path
//! and in a header.
//!
//! As proto3 JSON has it, a field may also be written by its proto name, and null is like leaving it out.

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::marker::PhantomData;
use zeroize::Zeroizing;

type Secret = Option<Zeroizing<String>>;

/// A message that is written as an object: serde would take an array of its fields' values, too.
#[derive(Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A request without fields.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Client {
    #[serde(alias = "ip_address")]
    pub ip_address: Option<String>,
    #[serde(alias = "user_agent")]
    pub user_agent: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Enroll {
    #[serde(alias = "session_id")]
    pub session_id: Secret,
    #[serde(alias = "account_name")]
    pub account_name: Option<String>,
    #[serde(alias = "request_id")]
    pub request_id: Option<String>,
    pub client: Option<Object<Client>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ConfirmEnrollment {
    #[serde(alias = "session_id")]
    pub session_id: Secret,
    #[serde(alias = "totp_code")]
    pub totp_code: Secret,
    #[serde(alias = "request_id")]
    pub request_id: Option<String>,
    pub client: Option<Object<Client>>,
}

/// Unenroll and RotateRecoveryKey.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OfSession {
    #[serde(alias = "session_id")]
    pub session_id: Secret,
    #[serde(alias = "request_id")]
    pub request_id: Option<String>,
    pub client: Option<Object<Client>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EvaluateLogin {
    pub authorities: Option<Vec<String>>,
    pub channel: Option<String>,
    pub resource: Option<String>,
    pub client: Option<Object<Client>>,
    #[serde(alias = "request_id")]
    pub request_id: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Verify {
    #[serde(alias = "session_id")]
    pub session_id: Secret,
    #[serde(alias = "totp_code")]
    pub totp_code: Secret,
    #[serde(alias = "recovery_key")]
    pub recovery_key: Secret,
    #[serde(alias = "request_id")]
    pub request_id: Option<String>,
    pub client: Option<Object<Client>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Elevate {
    #[serde(alias = "session_id")]
    pub session_id: Secret,
    #[serde(alias = "totp_code")]
    pub totp_code: Secret,
    #[serde(alias = "recovery_key")]
    pub recovery_key: Secret,
    pub password: Option<Object<PasswordCredential>>,
    pub asserted: Option<Object<AssertedCredential>>,
    #[serde(alias = "request_id")]
    pub request_id: Option<String>,
    pub client: Option<Object<Client>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct PasswordCredential {
    pub password: Secret,
    #[serde(alias = "password_hash")]
    pub password_hash: Secret,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AssertedCredential {
    pub how: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct CheckElevation {
    #[serde(alias = "session_id")]
    pub session_id: Secret,
    #[serde(alias = "max_age")]
    pub max_age: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DropElevation {
    #[serde(alias = "session_id")]
    pub session_id: Secret,
    #[serde(alias = "all_sessions")]
    pub all_sessions: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AcknowledgeRecoveryKey {
    #[serde(alias = "recovery_key_create_time")]
    pub recovery_key_create_time: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct SetPassword {
    pub password: Secret,
    #[serde(alias = "password_hash")]
    pub password_hash: Secret,
}

/// UnenrollUser and ClearBackoff.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ByAdministrator {
    #[serde(alias = "totp_code")]
    pub totp_code: Secret,
    #[serde(alias = "request_id")]
    pub request_id: Option<String>,
    pub client: Option<Object<Client>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ImportEnrollment {
    #[serde(alias = "otpauth_uri")]
    pub otpauth_uri: Secret,
    #[serde(alias = "request_id")]
    pub request_id: Option<String>,
    #[serde(alias = "issue_recovery_key")]
    pub issue_recovery_key: Option<bool>,
}
