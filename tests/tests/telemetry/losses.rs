//! What is lost, what waits and what is still to do.

use super::until;
use tokio::task::JoinSet;
use twinlock_proto::v1::admin_service_client::AdminServiceClient;
use twinlock_proto::v1::{SetPasswordRequest, WatchEventsRequest, set_password_request};
use twinlock_tests::{Options, Server, User, finish, reason};

#[tokio::test]
async fn events_that_are_told_watched_and_lost_are_counted() {
    let options = Options::default()
        .set("audit.path=/dev/full")
        .set("webhook.url=http://127.0.0.1:1/")
        .set("webhook.secret=0123456789abcdef0123456789abcdef");
    let server = Server::start(options);
    let mut admin = AdminServiceClient::new(server.channel().await);
    let watch = admin.watch_events(WatchEventsRequest::default()).await.expect("a watch");
    User::enroll(&mut server.client().await, "ann").await;
    // Elevated, begun, enrolled; one of them is under way to the webhook.
    let page = until(&server, "lines are lost", |page| {
        page.value("twinlock_audit_lines_lost_total") == 3.0
            && page.value("twinlock_webhook_events_pending") >= 2.0
    });
    let page = page.await;
    for (sample, expected) in [
        ("twinlock_webhook_events_lost_total", 0.0),
        ("twinlock_events_told_total", 3.0),
        ("twinlock_events_dropped_total", 0.0),
        ("twinlock_events_not_shared_total", 0.0),
        ("twinlock_event_watchers", 1.0),
    ] {
        assert_eq!(page.value(sample), expected, "{sample}: {}", page.text);
    }
    drop(watch);
    until(&server, "the watch is over", |page| page.value("twinlock_event_watchers") == 0.0).await;
}

#[tokio::test]
async fn passwords_that_wait_and_that_never_get_their_turn_show() {
    let options = Options::default()
        .set("argon2.concurrency=1")
        .set("argon2.iterations=20")
        .set("server.deadline=1s");
    let server = Server::start(options);
    let client = server.client().await;
    let mut calls = JoinSet::new();
    for number in 0..20 {
        let mut client = client.clone();
        calls.spawn(async move {
            let password = set_password_request::Verifier::Password("correct horse".into());
            let user_id = format!("user-{number}");
            let request = SetPasswordRequest { user_id, verifier: Some(password) };
            client.set_password(request).await
        });
    }
    let page = until(&server, "somebody waits", |page| page.value("twinlock_hashes_waiting") > 0.0);
    let page = page.await;
    assert_eq!(page.value("twinlock_hashes_limit"), 1.0);
    assert_eq!(page.value("twinlock_hashes_running"), 1.0);
    let ended = calls.join_all().await;
    let refused = ended.iter().filter_map(|ended| ended.as_ref().err());
    let refused = refused.filter(|status| reason(status) == "OVERLOADED").count();
    assert!(refused > 1, "{ended:?}");
    let page = until(&server, "nobody waits", |page| page.value("twinlock_hashes_waiting") == 0.0);
    // One may have had its turn, and no time to use it.
    let counted = page.await.value("twinlock_hashes_refused_total");
    assert!((refused as f64 - 1.0..=refused as f64).contains(&counted), "{counted} of {refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_that_are_made_again_show() {
    let server = Server::start(Options::default().set("backoff.tolerated_failures=10"));
    let client = server.client().await;
    let user = User::enroll(&mut client.clone(), "ann").await;
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let (mut client, wrong) = (client.clone(), user.verify(user.wrong_code()));
        calls.spawn(async move { client.verify(wrong).await });
    }
    assert!(calls.join_all().await.iter().all(Result::is_err));
    let page = until(&server, "somebody was faster", |page| {
        page.value("twinlock_store_swap_conflicts_total") > 0.0
    });
    let page = page.await;
    let counted = page.value("twinlock_attempts_total{proof=\"totp\",outcome=\"invalid\"}");
    assert_eq!(counted, 10.0, "each counts once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resealing_shows() {
    let server = Server::start_default();
    let mut client = server.client().await;
    for name in ["ann", "ben", "cat"] {
        User::enroll(&mut client, name).await;
    }
    let rotate = ["rotate", "--address", &server.address];
    let (status, said, errors) = finish(server.command("keys").args(rotate));
    assert_eq!(status, Some(0), "{said}{errors}");
    let page = until(&server, "the records are resealed", |page| {
        page.value("twinlock_reseal_records") == 3.0
            && page.value("twinlock_reseal_records_done") == 3.0
            && page.value("twinlock_reseal_running") == 0.0
    });
    assert_eq!(page.await.value("twinlock_reseal_records_left"), 0.0);
}
