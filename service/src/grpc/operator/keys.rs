//! The keys of the keyring and what needs them, as a stream: to know it, every record must be looked at.

use super::long_work::{self, Parts};
use crate::context::Context;
use crate::grpc::status;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tonic::{Request, Status};
use twinlock_core::Namespace;
use twinlock_engine::reseal::Census;
use twinlock_engine::seal::{KeyId, Keyring};
use twinlock_proto::v1::{KeyringKey, ListKeysRequest, ListKeysResponse};

/// The least time between two parts.
const INTERVAL: Duration = Duration::from_millis(200);

/// Looks at all records. The caller learns how many of its namespace need a key, and of others whether any
/// does.
pub fn stream(
    context: &Context,
    request: Request<ListKeysRequest>,
    permit: OwnedSemaphorePermit,
) -> Result<Parts<ListKeysResponse>, Status> {
    let revoked = context.revoked(&request);
    let (call, _) = context.call(request)?;
    let engine = context.engine.clone();
    Ok(long_work::stream(permit, revoked, |parts| async move {
        let answer = |census: &Census, is_last| ListKeysResponse {
            records_done: census.namespaces.get(&call.namespace).map_or(0, |it| it.records),
            keys: keys(&engine.keyring(), census, &call.namespace),
            is_last,
        };
        parts.send(answer(&Census::default(), false)).await?;
        let (looked, mut seen) = watch::channel(None);
        let mut next = Instant::now() + INTERVAL;
        let census = engine.census(|census| {
            if Instant::now() >= next {
                looked.send_replace(Some(answer(census, false)));
                next = Instant::now() + INTERVAL;
            }
        });
        let tell = async {
            loop {
                // The sender lives for as long as this does.
                let _ = seen.changed().await;
                let part = seen.borrow_and_update().clone();
                if let Err(gone) = parts.send(part.unwrap_or_default()).await {
                    return gone;
                }
            }
        };
        let census = tokio::select! {
            census = census => census.map_err(|error| status::from_error(&error))?,
            gone = tell => return Err(gone),
        };
        parts.send(answer(&census, true)).await
    }))
}

fn keys(keyring: &Keyring, census: &Census, namespace: &Namespace) -> Vec<KeyringKey> {
    let own = census.namespaces.get(namespace);
    let own = |key: KeyId| own.and_then(|tally| tally.needing.get(&key)).copied().unwrap_or(0);
    let known: BTreeSet<KeyId> = keyring.ids().collect();
    let needed = census.namespaces.values().flat_map(|tally| tally.needing.keys());
    let missing: BTreeSet<KeyId> =
        needed.chain(&census.markers).filter(|key| !known.contains(key)).copied().collect();
    let named = keyring.ids().chain(missing);
    named
        .map(|key| KeyringKey {
            key_id: key.to_string(),
            primary: key == keyring.primary(),
            prepared: keyring.is_prepared(key),
            missing: !known.contains(&key),
            records: own(key),
            needed_otherwise: census.markers.contains(&key)
                || census.records_needing(key) > own(key),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinlock_engine::reseal::Tally;
    use zeroize::Zeroizing;

    #[test]
    fn of_others_a_caller_learns_only_whether_they_need_a_key() {
        let keys = [1, 2, 3].map(|id| (KeyId(id), Zeroizing::new([id as u8; 32])));
        let keyring = Keyring::new(KeyId(1), keys).expect("a keyring");
        let namespace = |name| Namespace::parse(name).expect("a namespace");
        let mut census = Census::default();
        let tally = |needing: &[(u32, u64)]| Tally {
            records: 9,
            done: 0,
            needing: needing.iter().map(|(key, count)| (KeyId(*key), *count)).collect(),
        };
        census.namespaces.insert(namespace("mine"), tally(&[(1, 5), (2, 4)]));
        census.namespaces.insert(namespace("theirs"), tally(&[(2, 7), (9, 1)]));
        let listed = super::keys(&keyring, &census, &namespace("mine"));
        let told: Vec<_> = listed
            .iter()
            .map(|it| (&*it.key_id, it.records, it.needed_otherwise, it.missing))
            .collect();
        let expected = [
            ("00000001", 5, false, false),
            ("00000002", 4, true, false),
            ("00000003", 0, false, false),
            ("00000009", 0, true, true),
        ];
        assert_eq!(told, expected);
        assert!(listed[0].primary && !listed[1].primary);
    }
}
