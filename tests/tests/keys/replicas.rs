//! Replicas with copies of the keyring: a rotation in two stages, and what the stages are for.

use crate::load::{self, Load, more_calls};
use crate::rotation::blocking;
use crate::{
    all_opens_with, done, ids, keyring_file, keys, keys_through, log_has, primary_alone, put,
    refused,
};
use std::fs;
use std::process::Stdio;
use twinlock_tests::redis::{Program, Server as Redis, open, options, standalone, until};
use twinlock_tests::{Options, Server, User, finish, reason};

/// More than are resealed before the first is killed, at 500 a second.
const USERS: usize = 2000;

struct Replicas {
    first: Server,
    others: Vec<Server>,
    redis: Redis,
}

impl Replicas {
    /// The first and so many others, each with a copy of the keyring of its own.
    fn start(others: usize) -> Self {
        let redis = Redis::start(Program::Redis, &[]);
        let options = Options::default().over_redis(&redis.url());
        let first = Server::start(options.clone());
        let others = (0..others).map(|n| {
            let copy = format!("copy-{n}.toml");
            fs::copy(keyring_file(&first), first.directory().join(&copy)).expect("a copy");
            first.beside(options.clone().set(&format!("keyring.file={copy}")))
        });
        Self { others: others.collect(), first, redis }
    }

    /// Hands the first replica's file to the others, and waits until they have taken it.
    fn roll_out(&self) {
        let taken = |server: &Server| server.log().matches("the keyring was changed").count();
        let before: Vec<usize> = self.others.iter().map(taken).collect();
        for n in 0..self.others.len() {
            let copy = self.first.directory().join(format!("copy-{n}.toml"));
            put(&copy, &fs::read(keyring_file(&self.first)).expect("a file"));
        }
        for (server, before) in self.others.iter().zip(before) {
            until(|| taken(server) > before, &format!("it to be taken: {}", server.log()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_in_two_stages_and_a_kill_in_the_middle_fail_no_call_on_any_of_three_replicas() {
    let replicas = blocking(|| Replicas::start(2)).await;
    load::import(&replicas.first, USERS).await;
    let one = Load::start(&replicas.first, "first", USERS).await;
    let mut loads = Vec::new();
    for (n, server) in replicas.others.iter().enumerate() {
        loads.push(Load::start(server, &format!("other {n}"), USERS).await);
    }
    let (old, _) = ids(&keyring_file(&replicas.first));

    let (replicas, mut rotating) = blocking(move || {
        let said = done(&replicas.first, &["rotate", "--prepare"]);
        assert!(said.contains("is prepared"), "{said}");
        let again = refused(&replicas.first, &["rotate", "--prepare"]);
        assert!(again.contains("is prepared already"), "{again}");
        // The server looks every two seconds, and a change counts when it has settled.
        until(|| log_has(&replicas.first, "the keyring was changed"), "the first to take it");
        replicas.roll_out();
        for server in &replicas.others {
            let listed = done(server, &["list"]);
            assert!(listed.contains("prepared since"), "{listed}");
        }
        // From here on the first seals with a key that is only prepared at the others.
        let mut rotate = keys(&replicas.first, &["rotate"]);
        let rotating = rotate.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        until(|| log_has(&replicas.first, "resealing records"), "resealing to begin");
        (replicas, rotating.expect("twinlock keys rotate starts"))
    })
    .await;
    one.pause();
    let replicas = blocking(move || {
        let Replicas { mut first, others, redis } = replicas;
        let is_done = log_has(&first, "resealed, but") || log_has(&first, "no former key seals");
        assert!(!is_done, "it was too fast to be killed");
        first.kill();
        assert!(!rotating.wait().expect("it ends with the server").success());
        Replicas { first: first.restart(), others, redis }
    })
    .await;
    one.resume(&replicas.first);
    for load in loads.iter().chain([&one]) {
        more_calls(load, 100).await;
    }
    let replicas = blocking(move || {
        replicas.roll_out();
        for server in &replicas.others {
            until(|| log_has(server, "no former key seals anything"), "its pass to end");
        }
        // What the others wrote under the old key in between they have resealed by themselves.
        done(&replicas.first, &["retire", &old, "--force"]);
        replicas.roll_out();
        replicas
    })
    .await;
    for load in loads.iter().chain([&one]) {
        more_calls(load, 100).await;
    }
    for load in loads.into_iter().chain([one]) {
        load.end().await;
    }

    let store = open(options(standalone(&replicas.redis.url()))).await;
    let new = primary_alone(&keyring_file(&replicas.first));
    assert!(all_opens_with(store, &new).await >= USERS);
}

/// A replica that knows nothing of the new key refuses what is sealed with it, and leaves it as it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_left_behind_spoils_nothing() {
    let replicas = blocking(|| Replicas::start(1)).await;
    let mut client = replicas.first.client().await;
    let user = User::enroll(&mut client, "alice").await;
    let replicas = blocking(move || {
        let said = done(&replicas.first, &["rotate"]);
        assert!(said.contains("is the primary"), "{said}");
        replicas
    })
    .await;
    let mut behind = replicas.others[0].client().await;
    for code in [user.code(0), user.code(1), "000000".into()] {
        let refused = behind.verify(user.verify(code)).await.expect_err("it cannot be read");
        assert_eq!(reason(&refused), "SECRET_UNREADABLE");
    }
    let other = User::enroll(&mut behind, "bob").await;
    assert!(other.describe(&mut client).await.enrolled, "the first has both keys");
    client.verify(user.verify(user.code(0))).await.expect("unspent, and no failure was counted");
    let _replicas = blocking(move || {
        let ready = || replicas.others[0].probe("/readyz");
        let told = "which is missing here: hand their keyring to this one";
        until(|| ready().contains(told), "a warning");
        until(|| log_has(&replicas.others[0], told), "the same in the log");
        replicas.roll_out();
        until(|| !ready().contains(told), "the warning to end");
        replicas
    })
    .await;
    let described = user.describe(&mut behind).await;
    assert!(described.enrolled && other.describe(&mut behind).await.enrolled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_key_that_the_server_does_not_know_is_not_promoted() {
    let replicas = blocking(|| Replicas::start(1)).await;
    blocking(move || {
        done(&replicas.first, &["rotate", "--prepare"]);
        // The second's file is the old one: it would meet a key that it does not know.
        let mut rotate = keys_through(&replicas.first, &replicas.others[0].address, &["rotate"]);
        let (status, said, noted) = finish(&mut rotate);
        assert_eq!(status, Some(1), "{said}{noted}");
        assert!(noted.contains("does not know the prepared key"), "{noted}");
        let (_, others) = ids(&keyring_file(&replicas.first));
        assert_eq!(others.len(), 1, "nothing was changed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_the_server_does_not_let_go_is_back_in_the_file() {
    let replicas = blocking(|| Replicas::start(1)).await;
    blocking(move || {
        let (old, _) = ids(&keyring_file(&replicas.first));
        done(&replicas.first, &["rotate", "--prepare"]);
        replicas.roll_out();
        done(&replicas.first, &["rotate"]);
        replicas.roll_out();
        let second = &replicas.others[0];
        until(|| log_has(second, "no former key seals anything"), "its pass to end");
        // It reads a copy, which nobody changes.
        let arguments = ["retire", &old, "--force"];
        let retired = keys_through(&replicas.first, &second.address, &arguments).output();
        let retired = retired.expect("it runs");
        let said = String::from_utf8_lossy(&retired.stderr);
        assert_eq!(retired.status.code(), Some(3), "{said}");
        assert!(said.contains("The key is back in the file"), "{said}");
        assert_eq!(ids(&keyring_file(&replicas.first)).1, [old]);
    })
    .await;
}
