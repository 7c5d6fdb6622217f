//! `twinlock smoke-test` and `twinlock health --live`: what Kubernetes runs in and beside a server.

use serde_json::Value;
use std::process::Command;
use twinlock_proto::v1::DescribeUserRequest;
use twinlock_tests::redis::{Program, Server as Redis, until};
use twinlock_tests::{Options, Server, finish};

#[tokio::test]
async fn it_lives_a_life_and_leaves_nobody_behind() {
    let server = Server::start_default();
    let (status, answer) = smoke_test(&server, &[]);
    assert_eq!(
        (status, &answer["passed"], &answer["erased"]),
        (Some(0), &true.into(), &true.into())
    );
    let user_id = answer["user_id"].as_str().expect("a name").to_owned();
    assert!(user_id.starts_with("smoke-test-"));
    let mut client = server.client().await;
    let mut described = async |user_id: String| {
        let request = DescribeUserRequest { user_id };
        client.describe_user(request).await.expect("an answer").into_inner()
    };
    assert_eq!(described(user_id).await, described("nobody".into()).await);
}

#[test]
fn it_waits_where_there_is_no_window_and_nothing_is_tolerated() {
    let server = Server::start(
        Options::default()
            .set("totp.window=0")
            .set("totp.period=15s")
            .set("totp.digits=8")
            .set("totp.algorithm=SHA512")
            .set("backoff.tolerated_failures=0")
            .set("elevation.allow_asserted=false")
            .set("elevation.from_login=false"),
    );
    let (status, answer) = smoke_test(&server, &[]);
    assert_eq!((status, &answer["passed"]), (Some(0), &true.into()), "{answer}");
}

#[test]
fn it_fails_for_who_may_not_call_and_says_what_a_product_leaves_behind() {
    const TOKEN: &str = "a token of the shop";
    let digest = data_encoding::HEXLOWER.encode(&<sha2::Sha256 as sha2::Digest>::digest(TOKEN));
    let callers = format!("[[caller]]\nname = \"shop\"\ntoken_sha256 = \"{digest}\"\n");
    let server = Server::start(Options::default().file(&callers));
    let (status, answer) = smoke_test(&server, &["--token", TOKEN]);
    assert_eq!(
        (status, &answer["passed"], &answer["erased"]),
        (Some(0), &true.into(), &false.into())
    );
    let (status, answer) = smoke_test(&server, &[]);
    assert_eq!(answer["reason"], "CALLER_UNAUTHENTICATED");
    assert_ne!(status, Some(0));
}

#[test]
fn a_server_without_its_store_lives_but_is_not_healthy() {
    let mut redis = Redis::start(Program::Redis, &[]);
    let mut server = Server::start(Options::default().over_redis(&redis.url()));
    let health =
        |server: &Server, arguments: &[&str]| finish(client(server, "health").args(arguments)).0;
    assert_eq!((health(&server, &[]), health(&server, &["--live"])), (Some(0), Some(0)));
    redis.kill();
    until(|| health(&server, &[]) == Some(1), "the store is missed");
    assert_eq!(health(&server, &["--live"]), Some(0));
    server.kill();
    assert_eq!(health(&server, &["--live"]), Some(1));
}

fn smoke_test(server: &Server, arguments: &[&str]) -> (Option<i32>, Value) {
    let (status, output, errors) =
        finish(client(server, "smoke-test").arg("--json").args(arguments));
    let answer = serde_json::from_str(output.trim());
    (status, answer.unwrap_or_else(|_| panic!("{status:?} {output} {errors}")))
}

fn client(server: &Server, name: &str) -> Command {
    let mut command = twinlock_tests::twinlock();
    command.args([name, "--address", &server.address]);
    command
}
