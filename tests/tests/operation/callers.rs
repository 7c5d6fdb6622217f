//! Who may call, and whose users they see.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use twinlock_proto::v1::{DescribeUserRequest, SetPasswordRequest, set_password_request};
use twinlock_tests::{Client, Options, Server, finish, reason, twinlock};

fn start() -> Server {
    let caller = |name: &str, roles: &str, namespace: &str| {
        let hash = HEXLOWER.encode(&Sha256::digest(format!("token of {name}").replace(' ', "-")));
        format!(
            "[[caller]]\nname = \"{name}\"\ntoken_sha256 = \"{hash}\"\nroles = {roles}\n\
             namespace = \"{namespace}\"\n"
        )
    };
    let config = [
        caller("shop", "[\"product\"]", "shop"),
        caller("forum", "[\"product\", \"admin\"]", "forum"),
        caller("desk", "[\"admin\", \"operator\"]", "shop"),
    ];
    Server::start(Options::default().file(&config.concat()))
}

fn signed<T>(authorization: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if !authorization.is_empty() {
        let value = authorization.parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

async fn describe(client: &mut Client, authorization: &str) -> Result<bool, String> {
    let request = signed(authorization, DescribeUserRequest { user_id: "alice".into() });
    let answer = client.describe_user(request).await;
    answer.map(|answer| answer.into_inner().has_password).map_err(|status| reason(&status))
}

#[tokio::test]
async fn a_caller_is_known_by_its_token_and_acts_in_its_roles() {
    let server = start();
    let mut client = server.client().await;
    let longest = format!("Bearer {}", "x".repeat(8000));
    for (authorization, expected) in [
        ("", "CALLER_UNAUTHENTICATED"),
        ("Bearer nobody", "CALLER_UNAUTHENTICATED"),
        ("Bearer ", "CALLER_UNAUTHENTICATED"),
        ("Basic dG9rZW4tb2Ytc2hvcA==", "CALLER_UNAUTHENTICATED"),
        ("token-of-shop", "CALLER_UNAUTHENTICATED"),
        (&longest, "CALLER_UNAUTHENTICATED"),
        ("Bearer token-of-desk", "CALLER_FORBIDDEN"),
    ] {
        assert_eq!(describe(&mut client, authorization).await, Err(expected.into()));
    }
    for authorization in ["Bearer token-of-shop", "bearer token-of-forum"] {
        assert_eq!(describe(&mut client, authorization).await, Ok(false), "{authorization}");
    }
    // A probe has no token.
    let mut health = HealthClient::new(server.channel().await);
    health.check(HealthCheckRequest::default()).await.expect("health needs no token");
}

#[tokio::test]
async fn two_callers_with_namespaces_of_their_own_do_not_see_each_others_users() {
    let server = start();
    let mut client = server.client().await;
    let set = SetPasswordRequest {
        user_id: "alice".into(),
        verifier: Some(set_password_request::Verifier::Password("a password of hers".into())),
    };
    client.set_password(signed("Bearer token-of-shop", set)).await.expect("a password");
    assert_eq!(describe(&mut client, "Bearer token-of-shop").await, Ok(true));
    assert_eq!(describe(&mut client, "Bearer token-of-forum").await, Ok(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_send_a_token_from_wherever_it_is() {
    let server = start();
    let status = |arguments: &[&str], token: Option<&str>| {
        let mut command = twinlock();
        command.arg("status").current_dir(server.directory());
        command.args(["alice", "--json", "--address", &server.address]).args(arguments);
        if let Some(token) = token {
            command.env("TWINLOCK_TOKEN", token);
        }
        finish(&mut command)
    };
    std::fs::write(server.directory().join("token"), "token-of-shop\n").expect("a file");
    for (arguments, token) in [
        (&["--token", "token-of-shop"][..], None),
        (&["--token-file", "token"], None),
        (&[], Some("token-of-shop")),
        (&["--token-file", "token"], Some("nobody")),
    ] {
        let (status, output, errors) = status(arguments, token);
        assert_eq!(status, Some(0), "{arguments:?}: {output}{errors}");
    }
    for (arguments, expected) in [
        (&[][..], "CALLER_UNAUTHENTICATED"),
        (&["--token", "nobody"], "CALLER_UNAUTHENTICATED"),
        (&["--token", "token-of-desk"], "CALLER_FORBIDDEN"),
    ] {
        let (status, output, errors) = status(arguments, None);
        assert_eq!(status, Some(3), "{output}{errors}");
        assert!(output.contains(expected), "{output}");
    }
}
