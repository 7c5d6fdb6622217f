//! Watches: what they see, what they miss, how they end.

use crate::{Watch, deny, ids, users};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_types::StatusExt;
use twinlock_proto::v1::admin_service_client::AdminServiceClient;
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;
use twinlock_proto::v1::{EvaluateLoginRequest, LoginChannel, WatchEventsRequest};
use twinlock_tests::{Options, Server, User, calm_step, reason};

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_after_the_last_event_misses_nothing() {
    let server = Server::start_default();
    let mut client = server.client().await;
    let mut watch = Watch::begin(&server, "").await;
    let names: Vec<String> = (0..60).map(|n| format!("user-{n}")).collect();
    for user in &names[..40] {
        deny(&mut client, user).await;
    }
    let first = watch.take(20).await;
    drop(watch);
    for user in &names[40..] {
        deny(&mut client, user).await;
    }
    let mut again = Watch::begin(&server, ids(&first)[19]).await;
    assert!(!again.missed);
    let rest = again.take(40).await;
    assert_eq!([users(&first), users(&rest)].concat(), names);

    let status = Watch::try_begin(&server, "yesterday").await.err().expect("no id");
    assert_eq!((status.code(), reason(&status)), (Code::InvalidArgument, "INVALID_REQUEST".into()));
    let details = status.get_details_bad_request().expect("details");
    assert_eq!(details.field_violations[0].field, "after_event_id");

    // What an earlier process told is not kept, and that is said.
    let server = server.restart();
    deny(&mut server.client().await, "later").await;
    let mut again = Watch::begin(&server, ids(&rest)[39]).await;
    assert!(again.missed);
    assert_eq!(users(&again.take(1).await), ["later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_sees_its_callers_namespace_alone() {
    let hash = |token: &str| {
        use sha2::Digest;
        data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(token))
    };
    let caller = |name: &str| {
        format!(
            "[[caller]]\nname = \"{name}\"\nroles = [\"product\", \"admin\"]\n\
             namespace = \"{name}\"\ntoken_sha256 = \"{}\"\n",
            hash(name)
        )
    };
    let server = Server::start(Options::default().file(&(caller("one") + &caller("two"))));
    let channel = server.channel().await;
    fn signed<T>(caller: &str, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        let token = format!("Bearer {caller}").parse().expect("a header");
        request.metadata_mut().insert("authorization", token);
        request
    }
    let mut admin = AdminServiceClient::new(channel.clone());
    let stream = admin.watch_events(signed("two", WatchEventsRequest::default())).await;
    let mut watch = Watch { stream: stream.expect("a watch").into_inner(), missed: false };
    let mut client = TwoStepServiceClient::new(channel);
    for (caller, user) in [("one", "hidden"), ("two", "seen"), ("one", "hidden"), ("two", "last")] {
        let request = EvaluateLoginRequest {
            user_id: user.into(),
            channel: LoginChannel::Basic.into(),
            ..Default::default()
        };
        client.evaluate_login(signed(caller, request)).await.expect("a decision");
    }
    let events = watch.take(2).await;
    assert_eq!(users(&events), ["seen", "last"]);
    assert!(events.iter().all(|event| event.namespace == "two" && event.caller == "two"));
    assert!(admin.watch_events(WatchEventsRequest::default()).await.is_err(), "without a token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_watch_is_dropped_and_holds_no_login_back() {
    let server = Server::start_default();
    let mut client = server.client().await;
    calm_step(Duration::from_secs(15)).await;
    let alice = User::enroll(&mut client, "alice").await;
    // What the client's own buffers take is not the server's to keep.
    let endpoint = Endpoint::from_shared(server.address.clone()).expect("an address");
    let channel = endpoint.initial_stream_window_size(16 * 1024).connect().await;
    let slow = Watch::begin_on(channel.expect("a connection"), "").await;
    let mut slow = slow.expect("a watch");
    let mut quick = Watch::begin(&server, "").await;
    const LOGINS: usize = 20_000;
    let reading = tokio::spawn(async move { quick.take(LOGINS + 1).await.len() });
    let mut logins = JoinSet::new();
    for task in 0..8 {
        let mut client = server.client().await;
        logins.spawn(async move {
            for _ in 0..LOGINS / 8 {
                deny(&mut client, &format!("user-{task}")).await;
            }
        });
    }
    let mut waits = Vec::new();
    let begin = Instant::now();
    client.verify(alice.verify(alice.code(0))).await.expect("verified");
    waits.push(begin.elapsed());
    logins.join_all().await;
    let begin = Instant::now();
    client.verify(alice.verify(alice.code(1))).await.expect("verified");
    waits.push(begin.elapsed());
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(2)), "{waits:?}");
    assert_eq!(reading.await.expect("it reads"), LOGINS + 1, "who reads sees everything");

    let status = slow.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert!(status.message().contains("too slow"), "{status:?}");
    deny(&mut client, "bob").await;
    let mut again = Watch::begin(&server, "").await;
    deny(&mut client, "carol").await;
    assert_eq!(users(&again.take(1).await).last(), Some(&"carol"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_watches_and_waits_for_none() {
    let mut server = Server::start_default();
    let mut watches = Vec::new();
    for _ in 0..3 {
        watches.push(Watch::begin(&server, "").await);
    }
    let begin = Instant::now();
    server.signal("TERM");
    for watch in &mut watches {
        let status = watch.end().await;
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        assert!(status.message().contains("stopping"), "{status:?}");
    }
    drop(watches);
    assert!(server.wait().success());
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_may_watch_and_no_more() {
    let server = Server::start_default();
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(Watch::begin(&server, "").await);
    }
    let status = Watch::try_begin(&server, "").await.err().expect("no place");
    assert_eq!(reason(&status), "OVERLOADED");
    watches.clear();
    let limit = Instant::now() + Duration::from_secs(10);
    while Watch::try_begin(&server, "").await.is_err() {
        assert!(Instant::now() < limit, "who has gone leaves a place");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
