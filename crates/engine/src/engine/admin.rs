//! What an administrator does to another user, and what a migration and an operator may do.

use super::decide::Step;
use super::{Call, Engine, On};
use crate::error::Error;
use crate::seal::Purpose;
use twinlock_core::admin::{self, Target};
use twinlock_core::decision::{Decision, Durability, Factor};
use twinlock_core::otpauth::OtpauthUri;
use twinlock_core::second_factor::{Attempt, Issued, Presented};
use twinlock_core::totp::TotpCode;
use twinlock_core::{Record, Refusal, Timestamp, UserId};

impl Engine {
    /// Turns two-step verification off for another user, on an administrator's code.
    pub async fn unenroll_user(
        &self,
        call: &Call,
        administrator: UserId,
        code: TotpCode,
        user: UserId,
    ) -> Result<(), Error> {
        self.admit_administrator(call, &administrator, Some(&user))?;
        let on = self.on(call, user);
        let target = self
            .spend_proof(
                call,
                "UnenrollUser",
                &administrator,
                code,
                &on,
                Target::refuses_unenrollment,
            )
            .await?;
        let call = call.by(administrator);
        self.run(&call, &on, |record, now| {
            let decision = admin::unenroll(record.clone(), now, &target);
            Ok(self.written_again(decision, record, Durability::Enrollment))
        })
        .await
    }

    /// Ends a user's waits, on an administrator's code.
    pub async fn clear_backoff(
        &self,
        call: &Call,
        administrator: UserId,
        code: TotpCode,
        user: UserId,
    ) -> Result<(), Error> {
        self.admit_administrator(call, &administrator, None)?;
        let on = self.on(call, user);
        let target = self
            .spend_proof(call, "ClearBackoff", &administrator, code, &on, Target::refuses_clearing)
            .await?;
        let call = call.by(administrator);
        self.run(&call, &on, |record, _| {
            let decision = admin::clear_backoff(record.clone(), &target);
            Ok(self.written_again(decision, record, Durability::Attempt))
        })
        .await
    }

    /// Takes over an authenticator that another system enrolled; gives a recovery key where one is asked
    /// for.
    pub async fn import_enrollment(
        &self,
        call: &Call,
        user: UserId,
        uri: &OtpauthUri,
        issue_recovery_key: bool,
    ) -> Result<Option<Issued>, Error> {
        let on = self.on(call, user);
        let sealed = on.vault.seal(Purpose::TotpSecret, uri.secret.expose());
        let fresh = issue_recovery_key.then(|| on.fresh_recovery_key());
        let asked = on.asked(call, "ImportEnrollment", None, |it| {
            let parameters = format!("{:?}", uri.parameters);
            it.and(uri.secret.expose()).and(parameters).and([u8::from(issue_recovery_key)])
        });
        self.decide(call, &on, asked.as_ref(), |record, now| {
            let sealed = sealed.clone();
            Ok(admin::import(record, now, sealed, uri.parameters, fresh.as_ref()))
        })
        .await
    }

    /// Unenrolls a user on an operator's word.
    pub async fn reset_user(&self, call: &Call, user: UserId, why: &str) -> Result<(), Error> {
        let on = self.on(call, user);
        let asked = on.asked(call, "ResetUser", None, |it| it.and(why));
        self.decide(call, &on, asked.as_ref(), |record, now| Ok(admin::reset(record, now, why)))
            .await
    }

    /// Forgets a user. Where the call has an id, what is left for ten minutes is that it was done.
    pub async fn erase_user(&self, call: &Call, user: UserId) -> Result<(), Error> {
        let on = self.on(call, user);
        let asked = on.asked(call, "EraseUser", None, |it| it);
        self.decide(call, &on, asked.as_ref(), |record, _| Ok(admin::erase(&record))).await
    }

    /// The decision on a target. One that finds all done may be a repeat of a try that replicas did not
    /// confirm: where they must, the record is written again, and the answer waits for them.
    fn written_again(
        &self,
        mut decision: Decision<()>,
        record: Record,
        durability: Durability,
    ) -> Step<()> {
        let is_done_already = decision.outcome.is_ok() && decision.record.is_none();
        if is_done_already && self.store.waits_for(durability) {
            (decision.record, decision.durability) = (Some(record), durability);
        }
        Step::Decide(decision)
    }

    fn admit_administrator(
        &self,
        call: &Call,
        administrator: &UserId,
        user: Option<&UserId>,
    ) -> Result<(), Error> {
        let admitted = admin::admit_administrator(&self.policy, administrator, user);
        if let Err(refusal) = &admitted {
            let key = self.on(call, administrator.clone()).key;
            self.publish(call, &key, None, [admin::refused_administrator(refusal)]);
        }
        Ok(admitted?)
    }

    /// Spends the administrator's code on what the target is now. A repeat gets what the first call's
    /// proof was for, and no new proof is asked.
    async fn spend_proof(
        &self,
        call: &Call,
        method: &str,
        administrator: &UserId,
        code: TotpCode,
        target: &On,
        refuses: impl Fn(&Target) -> Option<Refusal>,
    ) -> Result<Target, Error> {
        let (record, now) = self.read(call, target).await?;
        let named = admin::target(&record.tidied(&self.policy, now));
        let refusal = refuses(&named);
        let on = self.on(call, administrator.clone());
        let asked = on.asked(call, method, Some(Factor::Second), |it| {
            it.and(code.expose()).and(target.key.user.as_str())
        });
        let presented = Presented::Totp(code);
        self.decide(call, &on, asked.as_ref(), |record: Record, now: Timestamp| {
            let opened = match admin::admit_proof(&record, &self.policy, now, &presented) {
                Err(refused) => return Ok(refused),
                Ok(sealed) => on.open(&presented, sealed)?,
            };
            let attempt = Attempt { presented: &presented, opened };
            let decision: Decision<Target> =
                admin::prove(record, &self.policy, now, attempt, named, refusal.as_ref());
            Ok(decision)
        })
        .await
        .inspect_err(|error| self.metrics.count_refusal(Factor::Second, error))
    }
}
