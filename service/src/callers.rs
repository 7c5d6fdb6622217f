//! Who may call the API: bearer tokens, roles, namespaces.

use crate::config::{self, Role};
use anyhow::{Context, Result, bail};
use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER_PERMISSIVE;
use http::HeaderMap;
use http::header::{AUTHORIZATION, ORIGIN};
use std::sync::Arc;
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

/// Who is not let in. The text is for the caller, and says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// No token, or one that nobody has.
    #[error("Send a known token as `authorization: Bearer TOKEN`.")]
    Unknown,
    /// A known caller without the role.
    #[error("This caller's roles do not allow the call. Add the role to its [[caller]] entry.")]
    Forbidden,
    /// A page in a browser.
    #[error("Pages in a browser may not call this. Call it from your backend.")]
    Browser,
}

impl Stranger {
    /// The reason that the API gives.
    pub fn reason(self) -> Reason {
        match self {
            Self::Unknown => Reason::CallerUnauthenticated,
            Self::Forbidden | Self::Browser => Reason::CallerForbidden,
        }
    }
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
    pub fn authenticate(&self, headers: &HeaderMap, role: Role) -> Result<Caller, Stranger> {
        if is_browser(headers) {
            return Err(Stranger::Browser);
        }
        if self.0.is_empty() {
            return Ok(Caller { name: "local".into(), namespace: Namespace::default() });
        }
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = token.and_then(bearer).ok_or(Stranger::Unknown)?;
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
            None => Err(Stranger::Unknown),
            Some(known) if known.roles.contains(&role) => Ok(known.caller.clone()),
            Some(_) => Err(Stranger::Forbidden),
        }
    }
}

/// Whether a page in a browser sends this, and not a backend. Where no callers are configured, whoever
/// reaches the address may do everything, and any page that somebody on the machine opens reaches
/// loopback: by requests that need no permission, or under a name that it makes point there.
fn is_browser(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    headers.contains_key(ORIGIN) || site.is_some_and(|site| site.as_bytes() != b"none")
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

    fn with(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            value.parse().expect("a header"),
        )])
    }

    #[test]
    fn a_token_names_its_caller_and_namespace() {
        let headers = with("authorization", "bearer shop-token");
        let caller = callers().authenticate(&headers, Role::Product).expect("known");
        assert_eq!((&*caller.name, caller.namespace.as_str()), ("shop", "shop"));
    }

    #[test]
    fn no_token_a_wrong_one_and_a_wrong_role_are_refused() {
        let callers = callers();
        let refused = |headers: &HeaderMap| callers.authenticate(headers, Role::Product).err();
        assert_eq!(refused(&HeaderMap::new()), Some(Stranger::Unknown));
        for wrong in ["Bearer nobody", "Bearer", "Basic shop-token", "Bearer shop-token ", ""] {
            let headers = with("authorization", wrong);
            assert_eq!(refused(&headers), Some(Stranger::Unknown), "{wrong:?}");
        }
        let headers = with("authorization", "Bearer desk-token");
        assert_eq!(refused(&headers), Some(Stranger::Forbidden));
    }

    #[test]
    fn pages_in_a_browser_are_refused_though_anybody_else_is_let_in() {
        let anybody = Callers::default();
        for (name, value) in [
            ("origin", "http://127.0.0.1:6238"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-origin"),
        ] {
            let refused = anybody.authenticate(&with(name, value), Role::Product);
            assert_eq!(refused, Err(Stranger::Browser), "{name}: {value}");
        }
        assert!(anybody.authenticate(&with("sec-fetch-site", "none"), Role::Product).is_ok());
    }
}
