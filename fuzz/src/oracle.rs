//! What may be accepted: only what was told to the user, and a code only once.

use std::collections::{HashMap, HashSet};
use twinlock_core::Timestamp;
use twinlock_core::otpauth::OtpauthUri;
use twinlock_core::recovery::RecoveryKey;
use twinlock_core::totp::{Step, generate};

/// What a call presented, in the words of the API.
#[derive(Default)]
pub struct Presented {
    pub method: String,
    /// Whose proof it is: the user's, or an administrator's.
    pub prover: String,
    /// Whom it is about.
    pub user: String,
    pub totp_code: String,
    pub recovery_key: String,
    pub password: String,
    pub otpauth_uri: String,
    pub request_id: String,
}

/// What an answer told.
#[derive(Default)]
pub struct Told {
    pub otpauth_uri: String,
    pub recovery_key: String,
}

/// What each user knows of their own, from the answers that were given.
#[derive(Default)]
pub struct Oracle {
    authenticators: HashMap<String, Vec<OtpauthUri>>,
    recovery_keys: HashMap<String, HashSet<String>>,
    passwords: HashMap<String, String>,
    /// Whose step of which secret was accepted.
    spent: HashSet<(String, Vec<u8>, u64)>,
    /// Calls that succeeded with a request id; a repeat may present what is spent.
    repeatable: HashSet<(String, String)>,
}

impl Oracle {
    /// Judges a call that succeeded.
    ///
    /// # Panics
    /// Where it presented what its user was never told, or what was spent.
    pub fn succeeded(&mut self, call: &Presented, told: Told, now: Timestamp) {
        let request = (call.prover.clone(), call.request_id.clone());
        let is_repeat = !call.request_id.is_empty() && !self.repeatable.insert(request);
        if !is_repeat {
            self.judge(call, now);
        }
        self.learn(call, told);
    }

    fn judge(&mut self, call: &Presented, now: Timestamp) {
        let Presented { method, prover, .. } = call;
        if !call.totp_code.is_empty() {
            let step = self.step_of(prover, &call.totp_code, now);
            let (secret, Step(step)) = step.unwrap_or_else(|| {
                panic!("{method} took the code {} of {prover:?}", call.totp_code)
            });
            let spent = self.spent.insert((prover.clone(), secret, step));
            assert!(spent, "{method} took a code of {prover:?} twice");
        }
        if let Ok(key) = RecoveryKey::parse(&call.recovery_key) {
            let known = self.recovery_keys.get_mut(prover);
            let was_known = known.is_some_and(|keys| keys.remove(key.expose().as_str()));
            assert!(
                was_known,
                "{method} took the recovery key {} of {prover:?}",
                call.recovery_key
            );
        }
        if method == "Elevate" && !call.password.is_empty() {
            assert_eq!(self.passwords.get(prover), Some(&call.password), "{method} of {prover:?}");
        }
    }

    /// The secret, and the latest unspent step within the window, that a code belongs to.
    fn step_of(&self, user: &str, code: &str, now: Timestamp) -> Option<(Vec<u8>, Step)> {
        let told = self.authenticators.get(user)?;
        let candidates = told.iter().flat_map(|uri| {
            let Step(current) = uri.parameters.period.step(now);
            (current - 1..=current + 1).map(move |step| (uri, step))
        });
        let secret = |uri: &OtpauthUri| uri.secret.expose().to_vec();
        let mut fitting = candidates
            .filter(|(uri, step)| {
                *generate(&uri.secret, &uri.parameters, Step(*step)).expose() == code
            })
            .map(|(uri, step)| (secret(uri), step));
        let (secret, step) = fitting.next()?;
        Some((secret, Step(step)))
    }

    fn learn(&mut self, call: &Presented, told: Told) {
        let user = || call.user.clone();
        for uri in [&call.otpauth_uri, &told.otpauth_uri] {
            if let Ok(uri) = OtpauthUri::parse(uri) {
                self.authenticators.entry(user()).or_default().push(uri);
            }
        }
        if let Ok(key) = RecoveryKey::parse(&told.recovery_key) {
            let keys = self.recovery_keys.entry(user()).or_default();
            keys.insert(key.expose().to_string());
        }
        match &*call.method {
            // The same secret may be imported again, and is another enrollment then.
            "ImportEnrollment" => self.spent.retain(|(name, ..)| *name != call.user),
            "SetPassword" => drop(self.passwords.insert(user(), call.password.clone())),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const URI: &str = "otpauth://totp/?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    /// RFC 6238 appendix B: 94287082 is the code of this moment, in eight digits.
    const NOW: Timestamp = Timestamp::from_secs(59);

    fn call(method: &str) -> Presented {
        let (prover, user) = ("alice".to_owned(), "alice".to_owned());
        Presented { method: method.into(), prover, user, ..Presented::default() }
    }

    fn imported() -> Oracle {
        let mut oracle = Oracle::default();
        let import = Presented { otpauth_uri: URI.into(), ..call("ImportEnrollment") };
        let recovery_key = "00000-00000-00000-00000-00001".into();
        oracle.succeeded(&import, Told { recovery_key, ..Told::default() }, NOW);
        oracle
    }

    fn is_right(oracle: &mut Oracle, call: &Presented, now: Timestamp) -> bool {
        let judged = AssertUnwindSafe(|| oracle.succeeded(call, Told::default(), now));
        catch_unwind(judged).is_ok()
    }

    #[test]
    fn what_was_told_may_be_accepted_and_once() {
        let code = Presented { totp_code: "287082".into(), ..call("Verify") };
        let key = "00000-00000-00000-00000-00001";
        let key = Presented { recovery_key: key.into(), ..call("Verify") };
        for proof in [&code, &key] {
            let mut oracle = imported();
            assert!(is_right(&mut oracle, proof, NOW));
            assert!(!is_right(&mut oracle, proof, NOW));
        }
        assert!(!is_right(&mut imported(), &code, Timestamp::from_secs(120)), "it is too old");
        let repeated = Presented { request_id: "0123456789abcdef".into(), ..code };
        let mut oracle = imported();
        assert!(is_right(&mut oracle, &repeated, NOW) && is_right(&mut oracle, &repeated, NOW));
    }

    #[test]
    fn nothing_else_may_be_accepted() {
        let wrong = [
            Presented { totp_code: "000000".into(), ..call("Verify") },
            Presented { totp_code: "287082".into(), prover: "bob".into(), ..call("Verify") },
            Presented { recovery_key: "0".repeat(25), ..call("Verify") },
            Presented { password: "secret".into(), ..call("Elevate") },
        ];
        for call in wrong {
            assert!(!is_right(&mut imported(), &call, NOW));
        }
    }
}
