//! Whether each caller is known by one thing of its own.

use super::Problems;
use crate::callers::SubjectName;
use crate::config::{Caller, Config, Listen};
use std::collections::{HashMap, HashSet};
use twinlock_core::Namespace;

/// What the kernel shows for a user who has no id in our user namespace (Linux's overflow id), and -1.
const NOBODY: [u32; 2] = [65534, u32::MAX];

impl Problems {
    pub(super) fn callers(&mut self, config: &Config) {
        let mut rights = HashMap::new();
        let mut credentials = HashSet::new();
        for (index, caller) in config.callers.iter().enumerate() {
            let key = |name: &str| format!("caller[{index}].{name}");
            self.require(
                !caller.name.is_empty() && !caller.name.contains(char::is_control),
                key("name"),
                "is not a name",
                "write a name for the log, without control characters",
            );
            // The audit trail knows a caller by its name alone.
            let right = (&caller.namespace, &caller.roles);
            self.require(
                *rights.entry(&caller.name).or_insert(right) == right,
                key("name"),
                "is another caller's name too, with other roles or another namespace",
                "write the same roles and namespace, or another name",
            );
            self.credential(caller, key, config);
            let user = caller.uid.map(|user| user.to_string());
            for (name, credential) in
                [("token_sha256", &caller.token_sha256), ("san", &caller.san), ("uid", &user)]
            {
                self.require(
                    credential
                        .as_ref()
                        .is_none_or(|it| credentials.insert((name, folded(name, it)))),
                    key(name),
                    "is another caller's too",
                    "give each caller a credential of its own",
                );
            }
            self.require(
                !caller.roles.is_empty(),
                key("roles"),
                "is empty, so that the caller could do nothing",
                "write some of product, admin and operator",
            );
            if let Err(malformed) = Namespace::parse(&caller.namespace) {
                self.require(
                    false,
                    key("namespace"),
                    malformed.problem,
                    "write 1 to 63 bytes without control characters",
                );
            }
        }
    }

    fn credential(&mut self, caller: &Caller, key: impl Fn(&str) -> String, config: &Config) {
        let given = [caller.token_sha256.is_some(), caller.san.is_some(), caller.uid.is_some()];
        self.require(
            given.into_iter().filter(|is_given| *is_given).count() == 1,
            key("token_sha256"),
            "is not the only one of token_sha256, san and uid, or none is set",
            "write exactly one of the three; several entries may have one name",
        );
        if let Some(token_sha256) = &caller.token_sha256 {
            let is_digit = |byte: u8| byte.is_ascii_hexdigit();
            self.require(
                token_sha256.len() == 64 && token_sha256.bytes().all(is_digit),
                key("token_sha256"),
                "is not the SHA-256 of a token",
                "write the 64 hexadecimal digits that `twinlock token new` prints",
            );
        }
        if let Some(Err(wrong)) = caller.san.as_deref().map(SubjectName::parse) {
            let remedy = "write the one name, such as shop.internal or spiffe://cluster.local/shop";
            self.require(false, key("san"), wrong, remedy);
        }
        self.require(
            caller.san.is_none() || config.server.tls_client_ca.is_some(),
            key("san"),
            "is never seen, since callers are not asked for certificates",
            "set server.tls_client_ca",
        );
        self.require(
            caller.uid.is_none() || matches!(config.server.listen, Listen::Unix(_)),
            key("uid"),
            "is never seen, since server.listen is no Unix socket",
            "set server.listen to unix:/path, or give the caller a token",
        );
        self.require(
            caller.uid.is_none_or(|user| !NOBODY.contains(&user)),
            key("uid"),
            "stands for every user whom the kernel cannot name here",
            "run the caller as a user of its own",
        );
    }
}

/// A credential as it is compared: hexadecimal digits and DNS names in whatever case, URIs as they are.
fn folded(name: &str, credential: &str) -> String {
    match SubjectName::parse(credential) {
        Ok(subject) if name == "san" => subject.to_string(),
        _ => credential.to_lowercase(),
    }
}
