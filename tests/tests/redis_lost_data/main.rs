//! Data that Redis has lost, or that is another's: every call fails, nobody is let in, and what is
//! restored works again.

mod calls;
mod saved;

use calls::{SESSION, all_end, becomes, ends, friend};
use saved::{Saved, has, keys};
use twinlock_proto::v1::CheckElevationRequest;
use twinlock_tests::redis::{Cluster, Program, Server as Redis, until};
use twinlock_tests::{Options, Server, User, finish, reason};

/// A server over a new Redis, with two users, of whom one matters.
async fn start() -> (Redis, Server, Known) {
    let redis = Redis::start(Program::Redis, &[]);
    let server = Server::start(settings().over_redis(&redis.url()));
    Known::enroll(&server, &friend("alice")).await;
    let user = Known::enroll(&server, "alice").await;
    (redis, server, user)
}

fn settings() -> Options {
    Options::default().set("store.redis.timeout=300ms").set("telemetry.log=error")
}

/// A user of whom the store knows more than that they are enrolled.
struct Known {
    user: User,
    used_code: String,
}

impl Known {
    /// Enrolls a user and elevates a session of theirs by a code.
    async fn enroll(server: &Server, id: &str) -> Self {
        let mut client = server.client().await;
        let user = User::enroll(&mut client, id).await;
        let used_code = user.code(1);
        client.elevate(user.elevate(SESSION, &*used_code)).await.expect("an elevation");
        Self { user, used_code }
    }

    /// Somebody whom the store has never heard of.
    fn stranger(&self) -> User {
        User { id: "nobody".into(), ..self.user.clone() }
    }

    /// What the store knew before it lost everything, it knows again.
    async fn is_as_before(&self, server: &Server) {
        let mut client = server.client().await;
        let user = &self.user;
        assert!(user.describe(&mut client).await.enrolled);
        assert_eq!(user.failures(&mut client).await, 0);
        let check = CheckElevationRequest {
            user_id: user.id.clone(),
            session_id: SESSION.into(),
            max_age: None,
        };
        client.check_elevation(check).await.expect("the elevation of before");
        let used = client.verify(user.verify(&*self.used_code)).await.expect_err("used before");
        assert!(["CODE_ALREADY_USED", "INVALID_CODE"].contains(&&*reason(&used)), "{used}");
        let redeemed = client.verify(user.redeem(&*user.recovery_key)).await;
        redeemed.expect("the recovery key of before");
        assert!(!self.stranger().describe(&mut client).await.enrolled);
    }
}

/// Tries to start another server with the same keyring; gives the sentence of its refusal.
fn refusal(server: &Server) -> String {
    let mut serve = server.command("serve");
    serve.args(["--listen", "127.0.0.1:0", "--set", "telemetry.listen=127.0.0.1:0"]);
    let (status, output, errors) = finish(&mut serve);
    assert_eq!(status, Some(1), "{output}{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_knows_nobody_and_says_so() {
    let (mut redis, server, known) = start().await;
    let saved = Saved::of(&redis);
    redis.command("FLUSHALL");
    for user in [&known.user, &known.stranger()] {
        all_end(&server, user, "STORE_INCOMPLETE").await;
    }
    becomes(&server, false).await;
    assert_eq!(keys(&redis), 0, "a call has written something");
    let refused = refusal(&server);
    assert!(refused.contains("STORE_INCOMPLETE"), "{refused}");
    assert!(refused.contains("twinlock init --new-dataset"), "{refused}");
    assert_eq!(keys(&redis), 0, "a start has written something");

    // It comes back empty, and nobody remembers that it ever was not.
    redis.restart();
    until(|| server.probe("/livez").contains("200"), "the server to go on");
    for user in [&known.user, &known.stranger()] {
        all_end(&server, user, "STORE_INCOMPLETE").await;
    }
    becomes(&server, false).await;
    refusal(&server);
    assert_eq!(keys(&redis), 0);

    saved.restore(&redis);
    becomes(&server, true).await;
    known.is_as_before(&server).await;
    // A new process agrees with the one that has seen all of it.
    let other = server.beside(server.options().clone());
    assert!(known.user.describe(&mut other.client().await).await.enrolled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_dataset_is_not_ours() {
    let (redis, server, known) = start().await;
    let (other_redis, other_server, other) = start().await;
    assert_eq!(known.user.id, other.user.id);
    let (saved, foreign) = (Saved::of(&redis), Saved::of(&other_redis));
    redis.command("FLUSHALL");
    foreign.restore(&redis);
    // Theirs has the same name; its record opens with their keyring alone.
    all_end(&server, &known.user, "SECRET_UNREADABLE").await;
    all_end(&server, &known.stranger(), "STORE_INCOMPLETE").await;
    becomes(&server, false).await;
    let before = keys(&redis);
    let refused = refusal(&server);
    assert!(refused.contains("SECRET_UNREADABLE"), "{refused}");
    assert!(refused.contains("keyring"), "{refused}");
    assert_eq!(keys(&redis), before, "a start has written something");

    redis.command("FLUSHALL");
    saved.restore(&redis);
    becomes(&server, true).await;
    known.is_as_before(&server).await;
    other.is_as_before(&other_server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_keyring_opens_nothing() {
    let (redis, server, _) = start().await;
    let (_other_redis, other_server, _) = start().await;
    let keyring = other_server.directory().join("twinlock-data/keyring.toml");
    let before = keys(&redis);
    let mut serve = server.command("serve");
    serve.args(["--set", &format!("keyring.file={}", keyring.display())]);
    serve.args(["--listen", "127.0.0.1:0", "--set", "telemetry.listen=127.0.0.1:0"]);
    let (status, output, errors) = finish(&mut serve);
    assert_eq!(status, Some(1), "{output}{errors}");
    assert!(errors.contains("SECRET_UNREADABLE") && errors.contains("keyring"), "{errors}");
    assert_eq!(keys(&redis), before, "a start has written something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_shard_is_missed_by_its_own_users_alone() {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(Program::Redis));
    let mut cluster = cluster.await.expect("a Cluster");
    let urls: Vec<String> = cluster.nodes.iter().map(Redis::url).collect();
    let options = settings().over_redis(&urls.join(",")).set("store.redis.mode=cluster");
    let server = Server::start(options);
    let mut users = Vec::new();
    for n in 0..12 {
        users.push(Known::enroll(&server, &format!("user-{n}")).await);
    }
    let (theirs, others): (Vec<Known>, Vec<Known>) =
        users.into_iter().partition(|known| has(&cluster.nodes[1], &known.user.id));
    assert!(!theirs.is_empty() && others.len() > 1, "the users are not spread");
    let saved = Saved::of(&cluster.nodes[1]);

    // The shard is down.
    cluster.nodes[1].kill();
    all_end(&server, &theirs[0].user, "STORE_UNAVAILABLE").await;
    becomes(&server, false).await;
    // It comes back, and its disk does not.
    let data = cluster.nodes[1].directory().join("appendonlydir");
    std::fs::remove_dir_all(data).expect("removed");
    cluster.nodes[1].restart();
    until(
        || {
            cluster.nodes.iter().all(|node| {
                let info: String =
                    redis::from_redis_value(node.command("CLUSTER INFO")).expect("text");
                info.contains("cluster_state:ok")
            })
        },
        "the Cluster to agree",
    );
    becomes(&server, false).await;
    for known in &theirs {
        all_end(&server, &known.user, "STORE_INCOMPLETE").await;
    }
    let refused = refusal(&server);
    assert!(refused.contains("STORE_INCOMPLETE"), "{refused}");
    assert_eq!(keys(&cluster.nodes[1]), 0, "something was written");
    // The others do not even notice.
    others[0].is_as_before(&server).await;

    saved.restore(&cluster.nodes[1]);
    becomes(&server, true).await;
    for known in theirs.iter().chain(&others[1..]) {
        known.is_as_before(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_init_makes_a_dataset() {
    let redis = Redis::start(Program::Redis, &[]);
    let (other_redis, other_server, _) = start().await;
    // Another's configuration and keyring are right in all but the address.
    let serve = || {
        let mut serve = other_server.command("serve");
        serve.args(["--set", &format!("store.redis.urls={}", redis.url())]);
        serve.args(["--listen", "127.0.0.1:0", "--set", "telemetry.listen=127.0.0.1:0"]);
        let (status, output, errors) = finish(&mut serve);
        assert_eq!(status, Some(1), "{output}{errors}");
        assert!(errors.contains("STORE_INCOMPLETE"), "{errors}");
        assert!(errors.contains("`twinlock init --new-dataset`"), "{errors}");
    };
    let init = || {
        let mut init = other_server.command("init");
        init.arg("--new-dataset").args(["--set", &format!("store.redis.urls={}", redis.url())]);
        finish(&mut init)
    };
    serve();
    assert_eq!(keys(&redis), 0, "a start has written something");

    // An initialization that was interrupted leaves a part, which is no dataset and is not completed.
    Saved::of(&other_redis).restore(&redis);
    for marker in 0..512 {
        redis.command(&format!("DEL twinlock:{{{marker:03x}}}:marker"));
    }
    let before = keys(&redis);
    serve();
    let (status, _, errors) = init();
    assert_eq!(status, Some(1), "{errors}");
    assert_eq!(keys(&redis), before, "a part of a dataset was completed");

    // Records alone are one, too. Events are not of it: a dataset is made beside them.
    redis.command("DEL twinlock:{000}:events");
    for marker in 512..1024 {
        redis.command(&format!("DEL twinlock:{{{marker:03x}}}:marker"));
    }
    assert_eq!(keys(&redis), 2);
    serve();
    let (status, _, errors) = init();
    assert_eq!(status, Some(1), "{errors}");
    assert_eq!(keys(&redis), 2);

    redis.command("FLUSHALL");
    let (status, _, errors) = init();
    assert_eq!(status, Some(0), "{errors}");
    assert_eq!(keys(&redis), 1024);
}

/// The calls that are tried above do succeed, or are refused for reasons of their own, where nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_is_lost_no_call_says_so() {
    let (_redis, server, known) = start().await;
    for user in [&known.user, &known.stranger()] {
        let ends = ends(&server, user).await;
        assert!(ends.values().filter(|end| *end == "OK").count() >= 6, "{ends:?}");
        for end in ends.values() {
            assert!(!end.starts_with("STORE") && end != "SECRET_UNREADABLE", "{ends:?}");
        }
    }
}
