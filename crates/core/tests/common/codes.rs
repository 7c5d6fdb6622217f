//! Codes and keys, right and wrong, as an app or a guesser would have them.

use super::{Bench, Proof, open};
use twinlock_core::totp::{self, Parameters, Secret, Step};

impl Bench {
    /// A code that is right and not used up; `None` where the window has no more of them.
    pub fn right_code(&self) -> Option<Proof> {
        let authenticator = self.record.authenticator.as_ref().expect("an enrolled user");
        let current = authenticator.parameters.period.step(self.now).0;
        let next = authenticator.last_step.map_or(0, |last| last.0 + 1);
        let step =
            (current.saturating_sub(1)..=current.saturating_add(1)).find(|step| *step >= next)?;
        Some(self.code_of(Step(step)))
    }

    /// The code of a step.
    pub fn code_of(&self, step: Step) -> Proof {
        let authenticator = self.record.authenticator.as_ref().expect("an enrolled user");
        Proof::Code(code(&open(&authenticator.secret), &authenticator.parameters, step))
    }

    /// The step of the last accepted code.
    pub fn last_step(&self) -> Step {
        let authenticator = self.record.authenticator.as_ref().expect("an enrolled user");
        authenticator.last_step.expect("a code was accepted")
    }

    /// A code that no step near now has, of neither the active nor the pending secret.
    pub fn wrong_code(&self) -> Proof {
        let active = self.record.authenticator.iter().map(|it| (&it.secret, it.parameters));
        let pending = self.record.pending.iter().map(|it| (&it.secret, it.parameters));
        let mut right = Vec::new();
        for (sealed, parameters) in active.chain(pending) {
            let current = parameters.period.step(self.now).0;
            for step in current.saturating_sub(3)..=current.saturating_add(3) {
                right.push(code(&open(sealed), &parameters, Step(step)));
            }
        }
        let wrong = (0..).map(|number| format!("{number:06}")).find(|code| !right.contains(code));
        Proof::Code(wrong.expect("few codes are right"))
    }

    /// The pending secret's code of now.
    pub fn pending_code(&self) -> String {
        let pending = self.record.pending.as_ref().expect("a pending enrollment");
        code(&open(&pending.secret), &pending.parameters, pending.parameters.period.step(self.now))
    }
}

/// A recovery key of the right form that was never issued.
pub fn wrong_key() -> Proof {
    Proof::Key("ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ".into())
}

/// The code of a secret's step.
pub fn code(secret: &Secret, parameters: &Parameters, step: Step) -> String {
    totp::generate(secret, parameters, step).expose().to_string()
}
