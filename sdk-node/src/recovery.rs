//! Recovery keys, without a server.

use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use twinlock_client::Error;
use twinlock_core::recovery::{RecoveryKey, RecoveryKeyHash};
use twinlock_core::{Malformed, Namespace, Refusal, UserId};
use zeroize::Zeroizing;

use crate::failure::{Outcome, outcome};
use crate::random::random;

#[napi(catch_unwind)]
pub fn generate_recovery_key() -> Outcome<String> {
    outcome(random().map(|random| RecoveryKey::generate(random).expose().to_string()))
}

#[napi(catch_unwind)]
pub fn hash_recovery_key(
    key: String,
    user_id: String,
    namespace: Option<String>,
) -> Outcome<Buffer> {
    outcome(hash(key, &user_id, namespace).map(|hash| hash.as_bytes().as_slice().into()))
}

/// Nothing, or why the key is not accepted.
#[napi(catch_unwind)]
pub fn verify_recovery_key(
    key: String,
    stored: &[u8],
    user_id: String,
    namespace: Option<String>,
) -> Outcome<()> {
    let verified = || -> Result<(), Error> {
        let presented = hash(key, &user_id, namespace)?;
        let stored = stored
            .try_into()
            .map_err(|_| Malformed { field: "hash", problem: "must have 32 bytes" })?;
        match presented.matches(&RecoveryKeyHash::from_bytes(stored)) {
            true => Ok(()),
            false => Err(Refusal::InvalidCode.into()),
        }
    };
    outcome(verified())
}

fn hash(key: String, user_id: &str, namespace: Option<String>) -> Result<RecoveryKeyHash, Error> {
    let key = Zeroizing::new(key);
    let user = UserId::parse(user_id)?;
    let namespace = namespace.as_deref().map(Namespace::parse).transpose()?.unwrap_or_default();
    Ok(RecoveryKey::parse(&key)?.hash(&namespace, &user))
}
