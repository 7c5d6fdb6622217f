//! Replicas with copies of the keyring: a rotation in two stages, and what the stages are for.

use crate::load::{self, Load, more_calls};
use crate::rotation::blocking;
use crate::{
    all_opens_with, done, ids, keyring_file, keys_through, log_has, primary_alone, put, refused,
};
use std::fs;
use std::path::PathBuf;
use twinlock_tests::redis::{Program, Server as Redis, open, options, standalone, until};
use twinlock_tests::{Options, Server, finish};

const USERS: usize = 500;

struct Replicas {
    first: Server,
    second: Server,
    redis: Redis,
}

impl Replicas {
    fn start() -> Self {
        let redis = Redis::start(Program::Redis, &[]);
        let options = Options::default().over_redis(&redis.url());
        let first = Server::start(options.clone());
        let copy = first.directory().join("copy.toml");
        fs::copy(keyring_file(&first), &copy).expect("a copy");
        let second = first.beside(options.set("keyring.file=copy.toml"));
        Self { first, second, redis }
    }

    fn copy(&self) -> PathBuf {
        self.first.directory().join("copy.toml")
    }

    /// Hands the first replica's file to the second, and waits until it has taken it.
    fn roll_out(&self) {
        let before = self.second.log().matches("the keyring was changed").count();
        put(&self.copy(), &fs::read(keyring_file(&self.first)).expect("a file"));
        let taken = || self.second.log().matches("the keyring was changed").count() > before;
        until(taken, &format!("the second to take it: {}", self.second.log()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_in_two_stages_fails_no_call_on_any_replica() {
    let replicas = blocking(Replicas::start).await;
    load::import(&replicas.first, USERS).await;
    let one = Load::start(&replicas.first, "first", USERS).await;
    let other = Load::start(&replicas.second, "second", USERS).await;
    let (old, _) = ids(&keyring_file(&replicas.first));

    let replicas = blocking(move || {
        let said = done(&replicas.first, &["rotate", "--prepare"]);
        assert!(said.contains("is prepared"), "{said}");
        let again = refused(&replicas.first, &["rotate", "--prepare"]);
        assert!(again.contains("is prepared already"), "{again}");
        // The server looks every two seconds, and a change counts when it has settled.
        until(|| log_has(&replicas.first, "the keyring was changed"), "the first to take it");
        replicas.roll_out();
        let listed = done(&replicas.second, &["list"]);
        assert!(listed.contains("prepared since"), "{listed}");
        // From here on the first seals with a key that is only prepared at the second.
        let said = done(&replicas.first, &["rotate"]);
        assert!(said.contains("is the primary"), "{said}");
        assert!(said.contains("Hand the file to every replica"), "the second still writes: {said}");
        replicas
    })
    .await;
    more_calls(&one, 100).await;
    more_calls(&other, 100).await;
    let replicas = blocking(move || {
        replicas.roll_out();
        until(|| log_has(&replicas.second, "no former key seals anything"), "the second's pass");
        // What the second wrote under the old key in between was resealed by itself.
        done(&replicas.first, &["retire", &old, "--force"]);
        replicas.roll_out();
        replicas
    })
    .await;
    more_calls(&one, 100).await;
    more_calls(&other, 100).await;
    one.end().await;
    other.end().await;

    let store = open(options(standalone(&replicas.redis.url()))).await;
    let new = primary_alone(&keyring_file(&replicas.first));
    assert!(all_opens_with(store, &new).await >= USERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_key_that_the_server_does_not_know_is_not_promoted() {
    let replicas = blocking(Replicas::start).await;
    blocking(move || {
        done(&replicas.first, &["rotate", "--prepare"]);
        // The second's file is the old one: it would meet a key that it does not know.
        let mut rotate = keys_through(&replicas.first, &replicas.second.address, &["rotate"]);
        let (status, said, noted) = finish(&mut rotate);
        assert_eq!(status, Some(1), "{said}{noted}");
        assert!(noted.contains("does not know the prepared key"), "{noted}");
        let (_, others) = ids(&keyring_file(&replicas.first));
        assert_eq!(others.len(), 1, "nothing was changed");
    })
    .await;
}
