//! The product over Redis: the commands of whoever runs it, its server, and its probes.

use super::{Program, Server, blocking};
use twinlock_tests::{Options, finish, reason};

fn over(server: &Server) -> Options {
    let options = Options::default().set("store.kind=redis");
    options.set(&format!("store.redis.urls={}", server.url()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_product_runs_over_redis() {
    let redis = Server::start(Program::Redis, &[]);
    let options = over(&redis);
    let started = blocking(move || twinlock_tests::Server::start(options)).await;
    let mut client = started.client().await;
    let user = twinlock_tests::User::enroll(&mut client, "alice").await;
    assert!(started.probe("/readyz").ends_with("ok\n"), "{}", started.probe("/readyz"));

    let (status, findings, _) = finish(&mut started.command("doctor"));
    assert_eq!(status, Some(0), "{findings}");
    assert!(findings.contains(&format!("{} opens with this keyring", redis.url())), "{findings}");
    assert!(findings.contains("all 1 can be read"), "{findings}");

    let (status, _, refused) = finish(started.command("init").arg("--new-dataset"));
    assert_eq!(status, Some(1));
    assert!(refused.contains("there is a dataset already"), "{refused}");
    let (status, said, _) = finish(&mut started.command("init"));
    assert_eq!(status, Some(0));
    assert!(said.contains("its keyring opens it"), "{said}");

    redis.command("CONFIG SET appendonly no");
    redis.command("CLIENT KILL TYPE normal");
    let warned = || started.probe("/readyz").contains("warning: 127.0.0.1");
    twinlock_tests::redis::until(warned, "the warning that persistence is off");
    let (_, findings, _) = finish(&mut started.command("doctor"));
    assert!(
        findings.contains("warning: ") && findings.contains("PERSISTENCE IS OFF"),
        "{findings}"
    );

    redis.command("FLUSHALL");
    let call = client.verify(user.verify(user.code(0))).await;
    let call = call.expect_err("an emptied store knows nobody");
    assert_eq!(reason(&call), "STORE_INCOMPLETE");
    assert!(started.probe("/readyz").contains("503"), "{}", started.probe("/readyz"));
    let (status, findings, _) = finish(&mut started.command("doctor"));
    assert_eq!(status, Some(1), "{findings}");
    assert!(findings.contains("STORE_INCOMPLETE"), "{findings}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_never_initialized_is_not_served() {
    let redis = Server::start(Program::Valkey, &[]);
    let directory = tempfile::tempdir().expect("a directory");
    let serve = || {
        let mut command = twinlock_tests::twinlock();
        command.arg("serve").current_dir(directory.path());
        command.args([
            "--set",
            "store.kind=redis",
            "--set",
            &format!("store.redis.urls={}", redis.url()),
        ]);
        command.args(["--listen", "127.0.0.1:0", "--set", "telemetry.listen=127.0.0.1:0"]);
        command
    };
    let (status, _, refused) = finish(&mut serve());
    assert_eq!(status, Some(1));
    assert!(refused.contains("twinlock init --new-dataset"), "{refused}");
    assert_eq!(super::count(redis.command("DBSIZE")), 0);

    redis.command("CONFIG SET maxmemory-policy allkeys-lru");
    let (status, _, refused) = finish(&mut serve());
    assert_eq!(status, Some(1));
    assert!(refused.contains("CONFIG SET maxmemory-policy noeviction"), "{refused}");
}
