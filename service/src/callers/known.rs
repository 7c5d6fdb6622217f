//! The callers of one state of the configuration, ready to be looked up.

use super::{Caller, Stranger, SubjectName};
use crate::config::{self, Role};
use anyhow::{Context, Result, anyhow, bail};
use aws_lc_rs::constant_time;
use data_encoding::HEXLOWER_PERMISSIVE;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use twinlock_core::Namespace;

/// Callers by what they present.
#[derive(Debug)]
pub struct Known {
    /// Where nobody is configured: whoever reaches the address.
    everybody: Option<Arc<Caller>>,
    tokens: Vec<([u8; 32], Arc<Caller>)>,
    names: HashMap<SubjectName, Arc<Caller>>,
    users: HashMap<u32, Arc<Caller>>,
}

/// What a caller is known by.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// None: no callers are configured.
    Open,
    /// The SHA-256 of its token.
    Token([u8; 32]),
    /// A name of its certificate.
    Name(SubjectName),
    /// Its user id on this machine.
    User(u32),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Name(name) => f.debug_tuple("Name").field(name).finish(),
            Self::User(user) => f.debug_tuple("User").field(user).finish(),
        }
    }
}

impl Known {
    pub fn new(configured: &[config::Caller]) -> Result<Self> {
        let mut known = Self {
            everybody: configured.is_empty().then(|| Arc::new(everybody())),
            tokens: Vec::new(),
            names: HashMap::new(),
            users: HashMap::new(),
        };
        for caller in configured {
            let name = &caller.name;
            let credential = credential(caller).with_context(|| format!("caller {name}"))?;
            let caller = Arc::new(Caller {
                name: name.as_str().into(),
                namespace: Namespace::parse(&caller.namespace)?,
                roles: caller.roles.clone(),
                credential: credential.clone(),
            });
            match credential {
                Credential::Open => {}
                Credential::Token(hash) => known.tokens.push((hash, caller)),
                Credential::Name(name) => drop(known.names.insert(name, caller)),
                Credential::User(user) => drop(known.users.insert(user, caller)),
            }
        }
        Ok(known)
    }

    /// The caller that everybody is, where nobody is configured.
    pub fn everybody(&self) -> Option<&Arc<Caller>> {
        self.everybody.as_ref()
    }

    /// Whether a token would let anybody in.
    pub fn any_has_a_token(&self) -> bool {
        !self.tokens.is_empty()
    }

    /// All are compared, each in constant time: how long it takes tells nothing of any.
    pub fn by_token(&self, hash: &[u8]) -> Option<&Arc<Caller>> {
        let mut found = None;
        for (known, caller) in &self.tokens {
            if constant_time::verify_slices_are_equal(known, hash).is_ok() {
                found = Some(caller);
            }
        }
        found
    }

    /// The one caller that a certificate's names are of.
    pub fn by_names(&self, names: &[SubjectName]) -> Result<&Arc<Caller>, Stranger> {
        let mut found = names.iter().filter_map(|name| self.names.get(name));
        let first = found.next().ok_or(Stranger::UnknownCertificate)?;
        // Which of two it acts as, and in whose namespace, must not hang on the order of names.
        match found.all(|other| other.is_as(first)) {
            true => Ok(first),
            false => Err(Stranger::TwoCallers),
        }
    }

    /// The caller that a user of this machine is.
    pub fn by_user(&self, user: u32) -> Result<&Arc<Caller>, Stranger> {
        self.users.get(&user).ok_or(Stranger::UnknownUser)
    }

    /// The callers' names that the other state does not have, or has otherwise.
    pub fn names_without(&self, other: &Self) -> Vec<String> {
        let missing = self.all().filter(|caller| !other.all().any(|it| it == *caller));
        let mut names: Vec<String> = missing.map(|caller| caller.name.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether a caller is still one, in this role, for the same users.
    pub fn still_admits(&self, caller: &Caller, role: Role) -> bool {
        self.all().any(|it| {
            it.credential == caller.credential
                && it.namespace == caller.namespace
                && it.roles.contains(&role)
        })
    }

    fn all(&self) -> impl Iterator<Item = &Caller> {
        let tokens = self.tokens.iter().map(|(_, caller)| caller);
        let others = self.names.values().chain(self.users.values());
        tokens.chain(others).chain(&self.everybody).map(|caller| &**caller)
    }
}

impl Caller {
    /// Whether it makes no difference which of the two calls.
    fn is_as(&self, other: &Self) -> bool {
        (&self.name, &self.namespace, &self.roles) == (&other.name, &other.namespace, &other.roles)
    }
}

fn everybody() -> Caller {
    Caller {
        name: "local".into(),
        namespace: Namespace::default(),
        roles: vec![Role::Product, Role::Admin, Role::Operator],
        credential: Credential::Open,
    }
}

fn credential(caller: &config::Caller) -> Result<Credential> {
    match (&caller.token_sha256, &caller.san, caller.uid) {
        (Some(hash), None, None) => {
            let hash = HEXLOWER_PERMISSIVE.decode(hash.as_bytes()).ok();
            let hash = hash.and_then(|hash| hash.try_into().ok()).context("a bad token_sha256")?;
            Ok(Credential::Token(hash))
        }
        (None, Some(name), None) => {
            let name = SubjectName::parse(name).map_err(|wrong| anyhow!("its san {wrong}"))?;
            Ok(Credential::Name(name))
        }
        (None, None, Some(user)) => Ok(Credential::User(user)),
        _ => bail!("it needs exactly one of token_sha256, san and uid"),
    }
}
