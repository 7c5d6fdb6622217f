//! A disk that takes no more: an error to the callers, nothing lost, and service as soon as there is room.
//!
//! The operating system's limit on the length of a file stands for the disk.

use std::process::Command;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::Status;
use twinlock_proto::v1::{DescribeUserRequest, SetPasswordRequest, set_password_request};
use twinlock_tests::{Client, Options, Server, User, reason};

const HASH: &str = "$argon2id$v=19$m=1024,t=2,p=2$94c3jxEewC7jmQwblR+OAw$Psk9KO8ivu42RmDxX3gU5eqrrI94uvjy9J17X9hduUk";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let mut server = Server::start_default();
    let user = User::enroll(&mut server.client().await, "alice").await;
    assert!(server.stop().success());
    // As many blocks of 512 bytes as the file has: it may be written, and not grow.
    let file = server.directory().join("twinlock-data/twinlock.redb");
    let blocks = std::fs::metadata(&file).expect("a file").len() / 512;
    let limited = Options::default().limit(&format!("-S -f {blocks}"));
    let server = server.restart_with(limited);
    let mut client = server.client().await;

    let mut kept = Vec::new();
    let refusal = 'full: loop {
        assert!(kept.len() < 200_000, "the disk does not get full");
        let mut writing = JoinSet::new();
        for n in kept.len()..kept.len() + 500 {
            let mut client = client.clone();
            writing.spawn(async move { (n, set_password(&mut client, n).await) });
        }
        let mut refusal = None;
        for (n, answer) in writing.join_all().await {
            match answer {
                Ok(()) => kept.push(n),
                Err(status) => refusal = Some(status),
            }
        }
        if let Some(refusal) = refusal {
            break 'full refusal;
        }
    };
    println!("full after {} users: {refusal}", kept.len());
    assert_eq!(reason(&refusal), "STORE_UNAVAILABLE");
    assert!(server.log().contains("the disk is full"), "{}", server.log());
    let full = Instant::now();
    while full.elapsed() < Duration::from_secs(2) {
        // No login is decided without being kept; and nobody is taken for somebody who is not enrolled.
        let status = client.verify(user.verify(user.code(0))).await.expect_err("it cannot be kept");
        assert_eq!(reason(&status), "STORE_UNAVAILABLE");
        let request = DescribeUserRequest { user_id: "alice".into() };
        match client.describe_user(request).await {
            Ok(answer) => assert!(answer.into_inner().enrolled),
            Err(status) => assert_eq!(reason(&status), "STORE_UNAVAILABLE"),
        }
        sleep(Duration::from_millis(100)).await;
    }

    // Room is made, and it goes on by itself.
    let pid = server.pid().to_string();
    let unlimited = ["--pid", &pid, "--fsize=unlimited"];
    assert!(Command::new("prlimit").args(unlimited).status().expect("prlimit runs").success());
    let begin = Instant::now();
    while let Err(status) = client.verify(user.redeem(&*user.recovery_key)).await {
        assert_eq!(reason(&status), "STORE_UNAVAILABLE");
        assert!(begin.elapsed() < Duration::from_secs(10), "it does not recover: {status}");
        sleep(Duration::from_millis(50)).await;
    }
    all_are_there(&mut client, &kept).await;
    let server = server.restart_with(Options::default());
    all_are_there(&mut server.client().await, &kept).await;
}

async fn set_password(client: &mut Client, n: usize) -> Result<(), Status> {
    let request = SetPasswordRequest {
        user_id: format!("{}-{n}", "user".repeat(50)),
        verifier: Some(set_password_request::Verifier::PasswordHash(HASH.into())),
    };
    client.set_password(request).await.map(|_| ())
}

async fn all_are_there(client: &mut Client, kept: &[usize]) {
    for n in kept {
        let user_id = format!("{}-{n}", "user".repeat(50));
        let request = DescribeUserRequest { user_id };
        let answer = client.describe_user(request).await.expect("a description").into_inner();
        assert!(answer.has_password, "user {n} is lost");
    }
}
