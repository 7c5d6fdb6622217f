//! What a login still owes: the whole table, in its order.

mod common;

use common::{Bench, SESSION, secs};
use rstest::rstest;
use std::time::Duration;
use twinlock_core::Policy;
use twinlock_core::decision::EventKind;
use twinlock_core::login::{Channel, Ground, Login, Owed, Verdict};
use twinlock_core::policy::{Enforcement, LoginPolicy};

/// One row of every situation that there can be.
#[derive(Clone, Copy, Debug)]
struct Situation {
    channel: Channel,
    user_listed: bool,
    resource_listed: bool,
    basic_allowed: bool,
    legacy: bool,
    enrolled: bool,
    listed_authority: bool,
    enforcement: Enforcement,
    grace: bool,
}

impl Situation {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        let flag = |number: u32, place: u32| number >> place & 1 == 1;
        for channel in [Channel::Form, Channel::Basic, Channel::RecoveryAdmin] {
            for enforcement in [Enforcement::Off, Enforcement::Report, Enforcement::Enforce] {
                all.extend((0..1 << 7).map(|number| Self {
                    channel,
                    enforcement,
                    user_listed: flag(number, 0),
                    resource_listed: flag(number, 1),
                    basic_allowed: flag(number, 2),
                    legacy: flag(number, 3),
                    enrolled: flag(number, 4),
                    listed_authority: flag(number, 5),
                    grace: flag(number, 6),
                }));
            }
        }
        all
    }

    /// The contract's table, read from the top.
    fn expected(&self) -> (Owed, Ground) {
        let basic = self.channel == Channel::Basic;
        let table = [
            (
                basic && (self.user_listed || self.resource_listed),
                (Owed::Allow, Ground::BasicAllowlisted),
            ),
            (basic && self.basic_allowed, (Owed::Allow, Ground::BasicAllowed)),
            (basic, (Owed::Deny, Ground::BasicNotProtected)),
            (self.legacy, (Owed::Allow, Ground::LegacyLogin)),
            (
                self.channel == Channel::RecoveryAdmin,
                (Owed::Deny, Ground::RecoveryAdminNotSupported),
            ),
            (self.enrolled, (Owed::Verify, Ground::Enrolled)),
            (self.enforced() && !self.grace, (Owed::Enroll, Ground::Enforced)),
            (self.enforced(), (Owed::Allow, Ground::GracePeriod)),
            (
                self.listed_authority && self.enforcement == Enforcement::Report,
                (Owed::Allow, Ground::WouldBeEnforced),
            ),
        ];
        let row = table.into_iter().find(|(applies, _)| *applies);
        row.map_or((Owed::Allow, Ground::NotEnrolled), |(_, decision)| decision)
    }

    fn enforced(&self) -> bool {
        self.listed_authority && self.enforcement == Enforcement::Enforce
    }

    fn bench(&self) -> Bench {
        let login = LoginPolicy {
            legacy: self.legacy,
            basic_allowed: self.basic_allowed,
            basic_users: if self.user_listed { vec!["alice".into()] } else { vec!["bob".into()] },
            basic_resources: if self.resource_listed { vec!["/rest".into()] } else { vec![] },
            enforcement: self.enforcement,
            authorities: vec!["admin".into(), "auditor".into()],
            grace: if self.grace { secs(3600) } else { Duration::ZERO },
        };
        let policy = Policy { login, ..Policy::default() };
        if self.enrolled { Bench::enrolled(policy) } else { Bench::new(policy) }
    }

    fn log_in(&self, bench: &mut Bench) -> Verdict {
        let listed = ["reader".to_string(), "auditor".to_string()];
        let authorities = if self.listed_authority { &listed[..] } else { &listed[..1] };
        let (channel, user) = (self.channel, "alice");
        bench.log_in(&Login { user, channel, authorities, resource: "/rest/items" })
    }
}

#[test]
fn every_situation_is_decided_by_the_first_row_of_the_table_that_fits() {
    let situations = Situation::all();
    assert_eq!(situations.len(), 3 * 3 * 128);
    for situation in situations {
        let mut bench = situation.bench();
        let verdict = situation.log_in(&mut bench);
        assert_eq!((verdict.owed, verdict.ground), situation.expected(), "{situation:?}");
    }
}

#[test]
fn exactly_the_users_who_newly_fall_under_enforcement_are_notified_exactly_once() {
    for situation in Situation::all() {
        let mut bench = situation.bench();
        let first = situation.log_in(&mut bench);
        let falls_under = matches!(first.ground, Ground::Enforced | Ground::GracePeriod);
        assert_eq!(first.notify, falls_under, "{situation:?}");
        assert_eq!(bench.events.contains(&EventKind::EnrollmentRequired), falls_under);
        let kept = bench.record.clone();
        for _ in 0..3 {
            bench.advance(secs(2000));
            assert!(!situation.log_in(&mut bench).notify, "{situation:?}");
            assert_eq!(bench.durability, None);
        }
        assert_eq!(bench.record, kept);
    }
}

#[test]
fn only_an_enrolled_user_is_reminded_of_the_recovery_key() {
    for situation in Situation::all() {
        let verdict = situation.log_in(&mut situation.bench());
        assert_eq!(verdict.remind_recovery_key, verdict.owed == Owed::Verify, "{situation:?}");
    }
}

#[test]
fn denied_and_legacy_logins_are_told_to_the_audit_trail() {
    for situation in Situation::all() {
        let mut bench = situation.bench();
        let verdict = situation.log_in(&mut bench);
        let told = |kind| bench.events.contains(&kind);
        assert_eq!(told(EventKind::LoginDenied), verdict.owed == Owed::Deny, "{situation:?}");
        assert_eq!(told(EventKind::LegacyLogin), verdict.ground == Ground::LegacyLogin);
    }
}

/// A user with a listed authority who comes by the form.
fn enforced(enforcement: Enforcement, grace: bool) -> Situation {
    Situation {
        channel: Channel::Form,
        user_listed: false,
        resource_listed: false,
        basic_allowed: false,
        legacy: false,
        enrolled: false,
        listed_authority: true,
        enforcement,
        grace,
    }
}

#[test]
fn grace_runs_from_the_first_login_under_enforcement() {
    let situation = enforced(Enforcement::Enforce, true);
    let mut bench = situation.bench();
    bench.advance(secs(100_000));
    assert_eq!(situation.log_in(&mut bench).ground, Ground::GracePeriod);
    bench.advance(secs(3600) - Duration::from_millis(1));
    assert_eq!(situation.log_in(&mut bench).ground, Ground::GracePeriod);
    bench.advance(Duration::from_millis(1));
    let verdict = situation.log_in(&mut bench);
    assert_eq!((verdict.owed, verdict.ground), (Owed::Enroll, Ground::Enforced));
}

#[test]
fn report_mode_gives_no_notice_and_uses_none_up() {
    let report = enforced(Enforcement::Report, true);
    let mut bench = report.bench();
    assert!(!report.log_in(&mut bench).notify);
    assert_eq!(bench.durability, None);
    bench.advance(secs(100_000));
    bench.policy.login.enforcement = Enforcement::Enforce;
    let verdict = report.log_in(&mut bench);
    assert_eq!((verdict.ground, verdict.notify), (Ground::GracePeriod, true), "grace begins now");
}

#[test]
fn a_denied_login_gives_no_notice_and_uses_none_up() {
    for channel in [Channel::Basic, Channel::RecoveryAdmin] {
        let form = enforced(Enforcement::Enforce, false);
        let mut bench = form.bench();
        let verdict = Situation { channel, ..form }.log_in(&mut bench);
        assert_eq!((verdict.owed, verdict.notify), (Owed::Deny, false));
        assert!(form.log_in(&mut bench).notify);
    }
}

#[test]
fn a_notice_given_outlives_enrolling_and_unenrolling() {
    let situation = enforced(Enforcement::Enforce, false);
    let mut bench = situation.bench();
    assert!(situation.log_in(&mut bench).notify);
    assert_eq!(bench.record.expires_at(&bench.policy), None, "nor does the record expire");
    bench.enroll_by(SESSION);
    assert_eq!(situation.log_in(&mut bench).ground, Ground::Enrolled);
    bench.unenroll(SESSION).expect("an elevated session");
    let verdict = situation.log_in(&mut bench);
    assert_eq!((verdict.ground, verdict.notify), (Ground::Enforced, false));
}

#[rstest]
#[case::other_case(&["ADMIN"])]
#[case::blank(&["admin "])]
#[case::longer(&["admin-assistant"])]
#[case::none(&[])]
fn authorities_are_compared_byte_by_byte(#[case] authorities: &[&str]) {
    let authorities: Vec<String> = authorities.iter().map(|it| it.to_string()).collect();
    let (user, channel) = ("alice", Channel::Form);
    let login = Login { user, channel, authorities: &authorities, resource: "" };
    let mut bench = enforced(Enforcement::Enforce, false).bench();
    assert_eq!(bench.log_in(&login).ground, Ground::NotEnrolled);
}

/// A login by basic authentication to a path, where so much of the paths is allowed.
fn basic(user: &str, allowed: &str, resource: &str) -> Ground {
    let basic_resources = vec![allowed.into()];
    let basic_users = vec!["robot".into()];
    let login = LoginPolicy { basic_resources, basic_users, ..LoginPolicy::default() };
    let mut bench = Bench::new(Policy { login, ..Policy::default() });
    let channel = Channel::Basic;
    bench.log_in(&Login { user, channel, authorities: &[], resource }).ground
}

#[rstest]
#[case::itself("/rest", "/rest")]
#[case::with_a_slash("/rest", "/rest/")]
#[case::written_with_a_slash("/rest/", "/rest")]
#[case::below("/rest", "/rest/api/2/items")]
#[case::deeper("/rest/api", "/rest/api/2")]
#[case::query("/rest", "/rest/items?sort=name")]
#[case::query_with_dots("/rest", "/rest?next=/../admin")]
#[case::fragment("/rest", "/rest#top")]
#[case::dots_within("/rest", "/rest/v1.2/.well-known")]
#[case::everything("/", "/any/path")]
#[case::root("/", "/")]
fn a_path_below_the_prefix_is_allowed(#[case] allowed: &str, #[case] resource: &str) {
    assert_eq!(basic("alice", allowed, resource), Ground::BasicAllowlisted);
}

#[rstest]
#[case::empty("")]
#[case::no_slash("rest/items")]
#[case::elsewhere("/admin")]
#[case::above("/")]
#[case::half_a_segment("/restful")]
#[case::half_a_segment_deeper("/rest-admin/x")]
#[case::dot_dot("/rest/../admin")]
#[case::dot_dot_at_the_end("/rest/..")]
#[case::dot_dot_with_a_slash("/rest/../")]
#[case::dot("/rest/./admin")]
#[case::three_dots("/rest/.../admin")]
#[case::escaped_dots("/rest/%2e%2e/admin")]
#[case::escaped_upper_case("/rest/%2E%2E/admin")]
#[case::half_escaped("/rest/.%2e/admin")]
#[case::twice_escaped("/rest/%252e%252e/admin")]
#[case::escaped_slash("/rest%2f..%2fadmin")]
#[case::overlong_escape("/rest/%c0%ae%c0%ae/admin")]
#[case::escaped_zero("/rest/%00/admin")]
#[case::doubled_slash("/rest//admin")]
#[case::doubled_first("//rest/items")]
#[case::doubled_last("/rest//")]
#[case::trailing_dot("/rest/admin.")]
#[case::trailing_dot_before_a_slash("/rest/admin./x")]
#[case::trailing_blank("/rest/admin ")]
#[case::other_case("/REST/items")]
#[case::parameter("/rest/;/../admin")]
#[case::parameter_after_dots("/rest/..;/admin")]
#[case::parameter_on_the_prefix("/rest;x=1/items")]
#[case::backslash("/rest\\..\\admin")]
#[case::backslash_below("/rest/..\\admin")]
#[case::full_width_dots("/rest/\u{ff0e}\u{ff0e}/admin")]
#[case::full_width_slash("/rest\u{ff0f}..")]
#[case::control("/rest/\u{0}/admin")]
#[case::line_end("/rest/\n")]
#[case::host("//evil.example/rest")]
#[case::scheme("https://evil.example/rest")]
#[case::dots_before_the_query("/rest/..?x")]
#[case::query_at_once("?/rest")]
fn a_path_that_two_servers_may_read_in_two_ways_is_under_no_prefix(#[case] resource: &str) {
    assert_eq!(basic("alice", "/rest", resource), Ground::BasicNotProtected);
}

#[test]
fn an_ambiguous_path_is_not_even_under_the_root() {
    for resource in ["", "/..", "//", "/a/../b", "/%2e", "/a;b", "/a\\b"] {
        assert_eq!(basic("alice", "/", resource), Ground::BasicNotProtected, "{resource}");
    }
}

#[test]
fn users_on_the_allowlist_are_compared_byte_by_byte() {
    assert_eq!(basic("robot", "/rest", "/admin"), Ground::BasicAllowlisted);
    for user in ["Robot", "robot ", "robots", "robo", ""] {
        assert_eq!(basic(user, "/rest", "/admin"), Ground::BasicNotProtected, "{user}");
    }
}

#[test]
fn basic_and_recovery_logins_need_no_second_step_of_an_enrolled_user_nor_give_one() {
    // The table decides them before it looks at the enrollment: denied, unless an operator allows them.
    for channel in [Channel::Basic, Channel::RecoveryAdmin] {
        let situation =
            Situation { channel, enrolled: true, ..enforced(Enforcement::Enforce, false) };
        assert_eq!(situation.log_in(&mut situation.bench()).owed, Owed::Deny);
    }
}
