//! Who may call the API: bearer tokens, roles, namespaces.

use crate::config::{self, Role};
use anyhow::{Context, Result, bail};
use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER_PERMISSIVE;
use std::sync::Arc;
use tonic::metadata::MetadataMap;
use twinlock_core::{Namespace, Reason};

/// The callers that are configured; with none, whoever reaches the address has all roles.
#[derive(Debug, Default)]
pub struct Callers(Vec<Known>);

/// An authenticated caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub name: Arc<str>,
    pub namespace: Namespace,
}

#[derive(Debug)]
struct Known {
    caller: Caller,
    token_sha256: [u8; 32],
    roles: Vec<Role>,
}

impl Callers {
    /// From the configuration, which was checked before.
    pub fn new(configured: &[config::Caller]) -> Result<Self> {
        let known = configured.iter().map(|caller| {
            let name = &caller.name;
            let Some(hash) = &caller.token_sha256 else {
                bail!(
                    "caller {name}: this release knows callers by token_sha256 alone, not by san."
                );
            };
            let hash = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok();
            let hash = hash.and_then(|hash| hash.try_into().ok());
            Ok(Known {
                caller: Caller {
                    name: name.as_str().into(),
                    namespace: Namespace::parse(&caller.namespace)?,
                },
                token_sha256: hash.with_context(|| format!("caller {name}: a bad token_sha256"))?,
                roles: caller.roles.clone(),
            })
        });
        Ok(Self(known.collect::<Result<_>>()?))
    }

    /// Who calls, if it may act in this role.
    pub fn authenticate(&self, metadata: &MetadataMap, role: Role) -> Result<Caller, Reason> {
        if self.0.is_empty() {
            return Ok(Caller { name: "local".into(), namespace: Namespace::default() });
        }
        let token = metadata.get("authorization").and_then(|value| value.to_str().ok());
        let token = token.and_then(bearer).ok_or(Reason::CallerUnauthenticated)?;
        let hash = digest(&SHA256, token.as_bytes());
        // All are compared, each in constant time: how long it takes tells nothing of any.
        let mut found = None;
        for known in &self.0 {
            let same = constant_time::verify_slices_are_equal(&known.token_sha256, hash.as_ref());
            if same.is_ok() {
                found = Some(known);
            }
        }
        match found {
            None => Err(Reason::CallerUnauthenticated),
            Some(known) if known.roles.contains(&role) => Ok(known.caller.clone()),
            Some(_) => Err(Reason::CallerForbidden),
        }
    }
}

/// The token of an `Authorization: Bearer` value (RFC 6750 section 2.1); the scheme's case does not matter.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn callers() -> Callers {
        let caller = |name: &str, token: &str, roles: &[Role]| config::Caller {
            name: name.into(),
            token_sha256: Some(HEXLOWER.encode(digest(&SHA256, token.as_bytes()).as_ref())),
            roles: roles.to_vec(),
            namespace: name.into(),
            ..config::Caller::default()
        };
        let shop = caller("shop", "shop-token", &[Role::Product]);
        let desk = caller("desk", "desk-token", &[Role::Admin]);
        Callers::new(&[shop, desk]).expect("callers")
    }

    fn with(authorization: &str) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", authorization.parse().expect("a header"));
        metadata
    }

    #[test]
    fn a_token_names_its_caller_and_namespace() {
        let caller = callers().authenticate(&with("bearer shop-token"), Role::Product);
        let caller = caller.expect("known");
        assert_eq!((&*caller.name, caller.namespace.as_str()), ("shop", "shop"));
    }

    #[test]
    fn no_token_a_wrong_one_and_a_wrong_role_are_refused() {
        let callers = callers();
        let refused = |metadata: &MetadataMap| callers.authenticate(metadata, Role::Product).err();
        assert_eq!(refused(&MetadataMap::new()), Some(Reason::CallerUnauthenticated));
        for wrong in ["Bearer nobody", "Bearer", "Basic shop-token", "Bearer shop-token ", ""] {
            assert_eq!(refused(&with(wrong)), Some(Reason::CallerUnauthenticated), "{wrong:?}");
        }
        assert_eq!(refused(&with("Bearer desk-token")), Some(Reason::CallerForbidden));
    }
}
