use super::*;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use twinlock_core::decision::EventKind;
use twinlock_core::record::Method;
use twinlock_core::{Namespace, Timestamp, UserId};
use twinlock_engine::ClientContext;
use twinlock_engine::events::{EventId, Occurrence};

fn event(user: &str) -> Arc<Event> {
    Arc::new(Event {
        id: EventId { millis: 1_790_000_000_007, sequence: 2 },
        what: Occurrence {
            at: Timestamp::from_millis(1_790_000_000_007),
            kind: EventKind::VerifyFailed,
            namespace: Namespace::default(),
            user: UserId::parse(user).expect("a user"),
            actor: None,
            caller: "shop".into(),
            method: Some(Method::Totp),
            reason: Some("INVALID_CODE".into()),
            client: ClientContext { ip_address: "192.0.2.1".into(), user_agent: "\n\"".into() },
        },
    })
}

#[tokio::test]
async fn lines_are_appended_to_a_file_of_the_owners_alone_which_may_be_moved_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, moved) = (directory.path().join("audit.log"), directory.path().join("audit.log.1"));
    let trail = Trail::open(&path).expect("opened");
    assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let mut writer = trail.writer();
    writer.take(&event("alice"));
    trail.reopen().await;
    while fs::metadata(&path).expect("a file").len() == 0 {
        tokio::time::sleep(PAUSE).await;
    }
    fs::rename(&path, &moved).expect("moved");
    trail.reopen().await;
    writer.take(&event("bob"));
    drop(writer);
    trail.finish(Duration::from_secs(10)).await;

    let expected = |user| {
        format!(
            r#"{{"event_id":"1790000000007-2","event_time":"2026-09-21T14:13:20.007Z","type":"VERIFY_FAILED","namespace":"default","user_id":"{user}","actor_id":"","caller":"shop","method":"METHOD_TOTP","reason":"INVALID_CODE","ip_address":"192.0.2.1","user_agent":"\n\""}}"#
        ) + "\n"
    };
    assert_eq!(fs::read_to_string(moved).expect("a file"), expected("alice"));
    assert_eq!(fs::read_to_string(path).expect("a file"), expected("bob"));
}

#[tokio::test]
async fn a_disk_that_is_full_costs_lines_and_nothing_else() {
    let trail = Trail::open(Path::new("/dev/full")).expect("opened");
    let mut writer = trail.writer();
    writer.take(&event("alice"));
    writer.take(&event("bob"));
    drop(writer);
    trail.finish(Duration::from_secs(10)).await;
    assert_eq!(trail.lost.count.load(Ordering::Relaxed), 2);
}

#[test]
fn a_file_that_cannot_be_opened_is_named() {
    let error = Trail::open(Path::new("/nowhere/audit.log")).err().expect("no such directory");
    assert!(format!("{error:#}").contains("/nowhere/audit.log"), "{error:#}");
}

#[test]
fn the_page_of_the_trail_has_every_key_every_kind_and_no_other() {
    let page = include_str!("../../../../docs/audit.md");
    let rows = |heading: &str| {
        let (_, section) = page.split_once(heading).expect("the heading");
        let section = section.split("\n## ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        rows.map(|(name, _)| name.to_owned()).collect::<BTreeSet<_>>()
    };
    let alice = event("alice");
    let line = serde_json::json!(Line::from(&*alice));
    let keys: BTreeSet<String> = line.as_object().expect("an object").keys().cloned().collect();
    assert_eq!(rows("## A line"), keys);
    let kinds = EventKind::ALL.map(|kind| kind.as_str().to_owned());
    assert_eq!(rows("## Events"), BTreeSet::from(kinds));
}
