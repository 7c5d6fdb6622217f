//! What administrators, operators and migrations do to users.

mod common;

use common::{Bench, Proof, SESSION, secs};
use twinlock_core::admin::{self, Target};
use twinlock_core::decision::{Durability, EventKind};
use twinlock_core::record::Sealed;
use twinlock_core::recovery::RecoveryKey;
use twinlock_core::second_factor::{Attempt, Fresh, Opened, Presented};
use twinlock_core::totp::{Parameters, Secret, TotpCode};
use twinlock_core::{Malformed, Policy, Record, Refusal, UserId};

fn user(name: &str) -> UserId {
    UserId::parse(name).expect("a user id")
}

fn nobody() -> Target {
    admin::target(&Record::default())
}

/// A user who failed so often with codes, and as often with passwords.
fn failing(times: u32) -> Bench {
    let mut bench = Bench::new(Policy::default());
    bench.set_password("right");
    for _ in 0..times {
        bench.advance(secs(3600));
        bench.password(SESSION, "wrong").expect_err("a wrong password");
    }
    bench.enroll_by(SESSION);
    for _ in 0..times {
        bench.advance(secs(3600));
        let wrong = bench.wrong_code();
        bench.verify(None, &wrong).expect_err("a wrong code");
    }
    bench
}

/// Presents an administrator's code, as the engine does.
fn prove(bench: &mut Bench, code: &Proof, refusal: Option<&Refusal>) -> Result<Target, Refusal> {
    let Proof::Code(code) = code else { panic!("a recovery key does not do") };
    let presented = Presented::Totp(TotpCode::parse(code).expect("a code"));
    let record = bench.record.clone();
    let admitted = admin::admit_proof(&record, &bench.policy, bench.now, &presented);
    let decision = match admitted {
        Err(refused) => refused,
        Ok(sealed) => {
            let secret = sealed.map(|sealed| Secret::from_bytes(&sealed.0).expect("a secret"));
            let opened = Opened::Secret(secret.expect("an enrolled user's"));
            let attempt = Attempt { presented: &presented, opened };
            admin::prove(record.clone(), &bench.policy, bench.now, attempt, nobody(), refusal)
        }
    };
    if let Some(refusal) = refusal.filter(|_| decision.outcome.is_ok()) {
        assert_eq!(decision.events[0].reason.as_deref(), Some(refusal.reason().as_str()));
    }
    bench.keep(decision)
}

#[test]
fn nobody_unenrolls_themselves_and_where_there_is_a_list_it_holds() {
    let mut policy = Policy::default();
    let (root, alice) = (user("root"), user("alice"));
    let admit = |policy: &Policy, user| admin::admit_administrator(policy, &root, user);
    assert_eq!(admit(&policy, Some(&alice)), Ok(()));
    assert_eq!(admit(&policy, Some(&root)), Err(Refusal::SelfUnenroll));
    assert_eq!(admit(&policy, None), Ok(()));
    policy.administrators = vec!["Root".into()];
    assert_eq!(admit(&policy, Some(&alice)), Err(Refusal::NotAnAdministrator));
    assert_eq!(admit(&policy, Some(&root)), Err(Refusal::SelfUnenroll), "it comes first");
    policy.administrators.push("root".into());
    assert_eq!(admit(&policy, Some(&alice)), Ok(()));
}

#[test]
fn a_proof_is_the_administrators_own_code_and_is_spent_whatever_the_target_is() {
    let mut stranger = Bench::new(Policy::default());
    let code = Proof::Code("123456".into());
    assert_eq!(prove(&mut stranger, &code, None), Err(Refusal::AdminNotEnrolled));
    assert_eq!(stranger.events, [EventKind::VerifyFailed]);

    let mut bench = Bench::enrolled(Policy::default());
    let code = bench.right_code().expect("a code");
    assert_eq!(prove(&mut bench, &code, Some(&Refusal::UserNotFound)), Ok(nobody()));
    assert_eq!(bench.events, [EventKind::Verified]);
    let again = prove(&mut bench, &code, None);
    assert!(matches!(again, Err(Refusal::CodeAlreadyUsed { .. })), "{again:?}");
    let wrong = bench.wrong_code();
    assert_eq!(prove(&mut bench, &wrong, None), Err(Refusal::InvalidCode));
    assert_eq!(bench.describe().second_factor.count, 2);
    let blocked = prove(&mut bench, &wrong, None);
    assert!(matches!(blocked, Err(Refusal::Backoff { .. })), "{blocked:?}");
}

#[test]
fn only_the_enrollment_that_the_proof_was_for_ends() {
    let mut bench = Bench::enrolled(Policy::default());
    let target = admin::target(&bench.record);
    assert_eq!(target.refuses_unenrollment(), None);
    let first = bench.record.clone();
    bench.enroll_by("phone");
    let newer = admin::unenroll(bench.record.clone(), bench.now, &target);
    assert_eq!((newer.outcome, newer.record), (Ok(()), None), "a newer one stays");

    bench.record = first;
    let decision = admin::unenroll(bench.record.clone(), bench.now, &target);
    bench.keep(decision).expect("an enrolled user");
    assert_eq!(bench.events, [EventKind::UnenrolledByAdmin]);
    assert_eq!(bench.durability, Some(Durability::Enrollment));
    assert!(!bench.record.is_enrolled() && !bench.is_elevated(SESSION));
    let again = admin::unenroll(bench.record.clone(), bench.now, &target);
    assert_eq!((again.outcome, again.record), (Ok(()), None));

    let gone = admin::target(&bench.record);
    let refused = admin::unenroll(bench.record.clone(), bench.now, &gone).outcome;
    assert_eq!(refused, Err(Refusal::NotEnrolled));
    let refused = admin::unenroll(Record::default(), bench.now, &nobody()).outcome;
    assert_eq!(refused, Err(Refusal::UserNotFound));
}

#[test]
fn both_counters_are_cleared_up_to_the_failures_that_the_proof_was_for() {
    let mut bench = failing(3);
    let target = admin::target(&bench.record);
    bench.advance(secs(3600));
    let wrong = bench.wrong_code();
    bench.verify(None, &wrong).expect_err("a later failure");
    let decision = admin::clear_backoff(bench.record.clone(), &target);
    bench.keep(decision).expect("a known user");
    assert_eq!(bench.events, [EventKind::BackoffCleared]);
    let description = bench.describe();
    assert_eq!((description.second_factor.count, description.password.count), (1, 0));

    let again = admin::clear_backoff(bench.record.clone(), &target);
    assert_eq!((again.outcome, again.record), (Ok(()), None));
    let refused = admin::clear_backoff(Record::default(), &nobody()).outcome;
    assert_eq!(refused, Err(Refusal::UserNotFound));
}

#[test]
fn clearing_one_counter_alone_is_a_change() {
    for (second_factor, password) in [(true, false), (false, true)] {
        let mut bench = failing(2);
        let target = admin::target(&bench.record);
        let none = admin::target(&Bench::enrolled(Policy::default()).record);
        let target = Target {
            second_factor: if second_factor { target.second_factor } else { none.second_factor },
            password: if password { target.password } else { none.password },
            ..target
        };
        let decision = admin::clear_backoff(bench.record.clone(), &target);
        bench.keep(decision).expect("a known user");
        let description = bench.describe();
        assert_eq!(description.second_factor.count == 0, second_factor);
        assert_eq!(description.password.count == 0, password);
    }
}

#[test]
fn an_import_ends_what_stood_on_the_time_before_and_spares_an_enrollment() {
    let mut bench = Bench::new(Policy::default());
    bench.begin_by(SESSION);
    assert!(bench.is_elevated(SESSION) && bench.record.pending.is_some());
    let secret = Sealed(vec![5; 20]);
    let key = RecoveryKey::generate([9; 16]);
    let fresh = Fresh { hash: Sealed(vec![1; 32]), key };
    let import = |record, fresh: Option<&Fresh>| {
        admin::import(record, common::BEGIN, secret.clone(), Parameters::default(), fresh)
    };
    let without = import(bench.record.clone(), None);
    assert!(matches!(without.outcome, Ok(None)));
    assert!(without.record.expect("a record").recovery.is_none());
    let issued = bench.keep(import(bench.record.clone(), Some(&fresh))).expect("an import");
    assert_eq!(*issued.expect("a key").key.expose(), *fresh.key.expose());
    assert_eq!(bench.events, [EventKind::Imported]);
    assert_eq!(bench.durability, Some(Durability::Enrollment));
    assert!(bench.record.is_enrolled() && bench.record.recovery.is_some());
    assert!(!bench.is_elevated(SESSION) && bench.record.pending.is_none());
    let refused = import(bench.record.clone(), None).outcome.map(|_| ());
    assert_eq!(refused, Err(Refusal::AlreadyEnrolled));
}

#[test]
fn an_operator_says_why_and_erases_whoever_is_known() {
    let mut bench = Bench::enrolled(Policy::default());
    let blank = admin::reset(bench.record.clone(), bench.now, " \t").outcome;
    assert!(matches!(blank, Err(Refusal::Malformed(Malformed { field: "why", .. }))));
    let unknown = admin::reset(Record::default(), bench.now, "lost phone").outcome;
    assert_eq!(unknown, Err(Refusal::UserNotFound));
    let decision = admin::reset(bench.record.clone(), bench.now, "lost phone");
    assert_eq!(decision.events[0].reason.as_deref(), Some("lost phone"));
    bench.keep(decision).expect("an enrolled user");
    assert_eq!(
        (bench.durability, bench.record.is_enrolled()),
        (Some(Durability::Enrollment), false)
    );
    let again = admin::reset(bench.record.clone(), bench.now, "lost phone").outcome;
    assert_eq!(again, Err(Refusal::NotEnrolled));

    let erased = admin::erase(&bench.record);
    assert_eq!(
        (erased.record, erased.durability),
        (Some(Record::default()), Durability::Enrollment)
    );
    assert_eq!(admin::erase(&Record::default()).outcome, Err(Refusal::UserNotFound));
}
