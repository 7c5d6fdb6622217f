//! The answer that is lost after its change was made.

use super::stage::Stage;
use std::time::Duration;
use tokio::time::sleep;
use twinlock_proto::v1::DescribeUserRequest;
use twinlock_tests::fault_proxy::{Direction, Flow, Which};
use twinlock_tests::{User, reason};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_with_its_id_brings_the_key_of_the_lost_answer() {
    let stage = Stage::start().await;
    let mut direct = stage.direct.client().await;
    let mut client = stage.faulted[0].client().await;
    let mut user = User::enroll(&mut direct, "alice").await;
    let described = DescribeUserRequest { user_id: user.id.clone() };
    let mut lost = None;
    for n in 0..20 {
        let before = user.describe(&mut direct).await.recovery_key_create_time;
        // What was lost in the last try took its connection with it.
        while client.describe_user(described.clone()).await.is_err() {}
        let mut redeem = user.redeem(&*user.recovery_key);
        redeem.request_id = format!("a redemption, the one with number {n}");
        // The record arrives in time to be replaced, and the answer to that is on its way when the
        // network fails.
        let answers = |flow| stage.proxy(0).inflict(Which::All, Direction::Answers, flow);
        answers(Flow::Delay(Duration::from_millis(150)));
        let calling = tokio::spawn({
            let (mut client, redeem) = (client.clone(), redeem.clone());
            async move { client.verify(redeem).await }
        });
        sleep(Duration::from_millis(220)).await;
        answers(Flow::Vanish);
        let answer = calling.await.expect("a call");
        stage.proxy(0).heal();
        match answer {
            Ok(answer) => {
                // This machine was too slow.
                user.recovery_key = answer.into_inner().recovery_key;
                continue;
            }
            Err(status) => assert_eq!(reason(&status), "STORE_UNAVAILABLE"),
        }
        if user.describe(&mut direct).await.recovery_key_create_time != before {
            lost = Some(redeem);
            break;
        }
    }
    let lost = lost.expect("an answer that was lost after its change");

    let elsewhere = direct.verify(lost.clone()).await.expect("a repeat").into_inner();
    let here = client.verify(lost).await.expect("a repeat").into_inner();
    assert_eq!(here, elsewhere);
    assert_ne!(here.recovery_key, user.recovery_key);
    let old = direct.verify(user.redeem(&*user.recovery_key)).await.expect_err("used up");
    assert_eq!(reason(&old), "INVALID_CODE");
    client.verify(user.redeem(here.recovery_key)).await.expect("the new key works");
}
