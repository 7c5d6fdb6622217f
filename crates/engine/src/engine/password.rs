//! Elevation by password, where deciding is expensive: block check, permit to hash, the failure swapped
//! in, the hash, and the settlement that takes the failure away again.

use super::decide::{Asked, Repeat, Step};
use super::{Call, Engine, On};
use crate::error::Error;
use crate::hash::{Password, PasswordHash, Permit};
use crate::seal::{Purpose, Unreadable};
use std::time::Duration;
use subtle::ConstantTimeEq;
use twinlock_core::SessionId;
use twinlock_core::backoff::Charge;
use twinlock_core::decision::{self, Decision, Factor};
use twinlock_core::elevation::{self, Checked, Verifier};
use twinlock_core::record::Sealed;
use twinlock_core::second_factor::Proven;
use zeroize::Zeroizing;

/// What is left of a call's time for the hash and the swaps when its turn comes at the last moment.
const LEFT_FOR_HASHING: Duration = Duration::from_millis(1500);

/// Whether a password is to be hashed, or was answered already.
enum Admitted {
    Answered(Result<Proven, Error>),
    Charged(Verifier, Charge),
}

impl Engine {
    pub(super) async fn elevate_by_password(
        &self,
        call: &Call,
        on: &On,
        session: &SessionId,
        password: Password,
        supplied: Option<PasswordHash>,
    ) -> Result<Proven, Error> {
        let hash_text = supplied.as_ref().map(PasswordHash::expose_text).unwrap_or_default();
        let asked = on.asked(call, "Elevate/password", Some(Factor::Password), |it| {
            it.and(session.as_str()).and(password.expose()).and(hash_text)
        });
        let asked = asked.as_ref();
        let session = &on.session(session);
        let has_supplied = supplied.is_some();

        // A blocked caller must not even queue for the hash: that would let a flood of refused attempts
        // delay everybody else.
        let blocked = self.admit_password(call, on, asked, has_supplied, false).await?;
        if let Admitted::Answered(answer) = blocked {
            return answer;
        }
        let permit = self.hash_permit(call).await?;
        let (verifier, charge) =
            match self.admit_password(call, on, asked, has_supplied, true).await? {
                Admitted::Answered(answer) => return answer,
                Admitted::Charged(verifier, charge) => (verifier, charge),
            };
        let (hash, stored) = match (&verifier, supplied) {
            (Verifier::Stored(sealed), _) => {
                let opened = on.vault.open(Purpose::Password, sealed)?;
                let text = std::str::from_utf8(&opened).map_err(|_| Unreadable::Damaged)?;
                let hash = PasswordHash::parse(text).map_err(|_| Unreadable::Damaged)?;
                (hash, Some(opened))
            }
            (Verifier::Supplied, Some(hash)) => (hash, None),
            (Verifier::Supplied, None) => return Err(Error::Internal("no verifier was supplied")),
        };
        let Ok(hashed) = call.deadline.limit(permit.verify(password, hash)).await else {
            // The charge stays: otherwise short deadlines would buy hashes for nothing.
            return Err(Error::Overloaded);
        };
        let is_right = match hashed {
            Ok(is_right) => is_right,
            Err(failure) => {
                // Nothing was learnt of the password, and it was no fault of the caller's.
                let uncharged = self.run(call, on, |record, _| {
                    let record = elevation::uncharge_password(record, charge);
                    Ok(Step::Decide(Decision::changed((), record, Vec::new())))
                });
                uncharged.await?;
                return Err(failure.into());
            }
        };

        self.run(call, on, |record, now| {
            // The same request may have been answered while this one was hashing, and was counted there:
            // then all that is left is to take this one's charge away.
            if let Some(Repeat::Answer(answer)) =
                asked.and_then(|asked| on.repeat(asked, &record, now))
            {
                let record = elevation::uncharge_password(record, charge);
                return Ok(Step::Decide(Decision::changed(answer, record, Vec::new())));
            }
            let is_in_force = match &stored {
                Some(hashed) => on.is_password(hashed, record.password.as_ref())?,
                None => true,
            };
            let mut decision = elevation::settle_password(
                record.clone(),
                &self.policy,
                now,
                session,
                charge,
                Checked { is_right, is_in_force },
            );
            if let Some(asked) = asked {
                let mut record = decision.record.take().unwrap_or(record);
                on.remember(asked, &mut record, &decision.outcome, now);
                decision.record = Some(record);
            }
            Ok(Step::Decide(decision.map(Ok)))
        })
        .await?
    }

    /// Decides whether the password may be looked at, and counts the failure ahead of it where it is to
    /// be hashed at once.
    async fn admit_password(
        &self,
        call: &Call,
        on: &On,
        asked: Option<&Asked>,
        supplied: bool,
        charge: bool,
    ) -> Result<Admitted, Error> {
        self.run(call, on, |record, now| {
            match asked.and_then(|asked| on.repeat(asked, &record, now)) {
                Some(Repeat::Answer(answer)) => {
                    return Ok(Step::Answer(Ok(Admitted::Answered(answer))));
                }
                Some(Repeat::Reused) => {
                    let factor = Some(Factor::Password);
                    return Ok(Step::Decide(decision::reused(record, &self.policy, now, factor)));
                }
                None => {}
            }
            let verifier = match elevation::admit_password(&record, &self.policy, now, supplied) {
                Ok(verifier) => verifier,
                Err(refused) => return Ok(Step::Decide(refused)),
            };
            let charged = elevation::charge_password(record, &self.policy, now);
            let decision = charged.map(|charge| Admitted::Charged(verifier, charge));
            Ok(if charge {
                Step::Decide(decision)
            } else {
                Step::Answer(decision.outcome.map_err(Error::from))
            })
        })
        .await
    }

    /// Waits for a turn to hash, but not so long that the hash itself would come too late.
    pub(super) async fn hash_permit(&self, call: &Call) -> Result<Permit, Error> {
        let reserve = LEFT_FOR_HASHING.min(call.deadline.remaining() / 2);
        Ok(self.hasher.permit(call.deadline.earlier(reserve)).await?)
    }
}

impl On {
    /// Whether a record's verifier is this one. What was sealed is compared, and not its bytes: the record
    /// may have been resealed meanwhile.
    fn is_password(
        &self,
        verifier: &Zeroizing<Vec<u8>>,
        sealed: Option<&Sealed>,
    ) -> Result<bool, Unreadable> {
        let Some(sealed) = sealed else { return Ok(false) };
        let opened = self.vault.open(Purpose::Password, sealed)?;
        Ok(bool::from(opened.as_slice().ct_eq(verifier.as_slice())))
    }
}
