//! Who may call the API: bearer tokens, client certificates, users of this machine; roles, namespaces.
//!
//! `docs/callers.md` says what an operator sees.

mod known;
mod peer;
mod refusal;
mod subject;

use crate::config::{self, Role};
use anyhow::{Result, ensure};
use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use http::HeaderMap;
use http::header::{AUTHORIZATION, ORIGIN};
use known::{Credential, Known};
use refusal::Refusals;
use std::sync::Arc;
use tokio::sync::watch;
use twinlock_core::Namespace;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::{Call, ClientContext};

pub use peer::Peer;
pub use refusal::Stranger;
pub use subject::SubjectName;

/// The callers that are configured; with none, whoever reaches the address has all roles. They may be
/// replaced while calls are under way.
#[derive(Debug)]
pub struct Callers {
    /// Read by every call, so without a lock.
    known: ArcSwap<Known>,
    replaced: watch::Sender<()>,
    refusals: Refusals,
}

/// An authenticated caller.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    pub name: Arc<str>,
    pub namespace: Namespace,
    roles: Vec<Role>,
    credential: Credential,
}

impl Caller {
    /// A call of its own, apart from what the request says.
    pub fn call(&self, deadline: Deadline) -> Call {
        Call {
            namespace: self.namespace.clone(),
            caller: self.name.clone(),
            client: ClientContext::default(),
            deadline,
            request_id: None,
            actor: None,
        }
    }
}

impl Callers {
    /// From the configuration, which was checked before.
    pub fn new(configured: &[config::Caller]) -> Result<Self> {
        Ok(Self {
            known: ArcSwap::from_pointee(Known::new(configured)?),
            replaced: watch::Sender::new(()),
            refusals: Refusals::default(),
        })
    }

    /// Knows these callers from now on, on connections that are open as well; gives the names of those that
    /// are new or changed, and of those that are gone or changed.
    ///
    /// # Errors
    ///
    /// Where nobody would be left: with no callers, everybody may call, and a file that was cut short must
    /// never bring that about.
    pub fn replace(&self, configured: &[config::Caller]) -> Result<(Vec<String>, Vec<String>)> {
        let next = Known::new(configured)?;
        let before = self.known.load();
        ensure!(
            next.everybody().is_none() || before.everybody().is_some(),
            "no [[caller]] is left, which would let everybody call; restart if that is meant"
        );
        let changes = (next.names_without(&before), before.names_without(&next));
        self.known.store(Arc::new(next));
        self.replaced.send_replace(());
        Ok(changes)
    }

    /// Who calls, if it may act in this role. Whoever does not is counted, and now and then logged.
    ///
    /// A token decides alone where one is presented: a wrong one is refused whatever certificate comes with
    /// it. Else it is the certificate's names, or on a Unix socket the user.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        peer: Option<&Peer>,
        role: Role,
    ) -> Result<Arc<Caller>, Stranger> {
        let known = self.known.load();
        let admitted = if is_browser(headers) {
            Err(Stranger::Browser)
        } else {
            known.everybody().map_or_else(|| identify(&known, headers, peer), Ok)
        };
        let admitted = admitted.and_then(|caller| match caller.roles.contains(&role) {
            true => Ok(caller.clone()),
            false => Err(Stranger::Forbidden),
        });
        admitted.inspect_err(|stranger| self.refusals.tell(*stranger, peer, role))
    }

    /// Ends when the caller is no longer one, or not in this role. A call that goes on by itself, as one
    /// that watches events does, must end with it.
    pub fn revoked(
        self: &Arc<Self>,
        caller: Arc<Caller>,
        role: Role,
    ) -> impl Future<Output = Stranger> + Send + use<> {
        let callers = self.clone();
        let mut replaced = self.replaced.subscribe();
        async move {
            while callers.known.load().still_admits(&caller, role) {
                // The sender lives as long as the callers do.
                let _ = replaced.changed().await;
            }
            callers.refusals.tell(Stranger::Revoked, None, role);
            Stranger::Revoked
        }
    }

    /// How many calls were refused so far, by the reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refusals.counts()
    }

    /// Whether somebody is known by a token, and so may come without a client certificate.
    pub fn any_has_a_token(&self) -> bool {
        self.known.load().any_has_a_token()
    }
}

fn identify<'known>(
    known: &'known Known,
    headers: &HeaderMap,
    peer: Option<&Peer>,
) -> Result<&'known Arc<Caller>, Stranger> {
    let mut presented = headers.get_all(AUTHORIZATION).iter();
    match (presented.next(), presented.next()) {
        (None, _) => {}
        (Some(value), None) => {
            let token = value.to_str().ok().and_then(bearer).ok_or(Stranger::WrongToken)?;
            let hash = digest(&SHA256, token.as_bytes());
            return known.by_token(hash.as_ref()).ok_or(Stranger::WrongToken);
        }
        // Which of two would count is nothing to guess at.
        (Some(_), Some(_)) => return Err(Stranger::WrongToken),
    }
    let peer = peer.ok_or(Stranger::Nobody)?;
    match (peer.names(), peer.user()) {
        (Some(names), _) => known.by_names(names),
        (None, Some(user)) => known.by_user(user),
        (None, None) => Err(Stranger::Nobody),
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
mod tests;
