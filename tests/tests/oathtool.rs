//! Codes that another implementation makes, Debian's `oathtool`, are accepted.

use std::collections::HashMap;
use std::process::Command;
use tokio::task::JoinSet;
use twinlock_proto::v1::{
    AssertedCredential, ConfirmEnrollmentRequest, ElevateRequest, EnrollRequest, elevate_request,
    verify_request,
};
use twinlock_tests::{Options, Server, calm_step, now, verify_with};

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_oathtool_are_accepted_for_every_algorithm_and_length() {
    let mut combinations = JoinSet::new();
    for algorithm in ["SHA1", "SHA256", "SHA512"] {
        for digits in [6, 8] {
            combinations.spawn(enroll_and_verify(algorithm, digits));
        }
    }
    assert_eq!(combinations.len(), 6);
    while let Some(result) = combinations.join_next().await {
        result.expect("the codes are accepted");
    }
}

async fn enroll_and_verify(algorithm: &'static str, digits: usize) {
    let options = Options::default()
        .set(&format!("totp.algorithm={algorithm}"))
        .set(&format!("totp.digits={digits}"));
    let server = tokio::task::spawn_blocking(|| Server::start(options)).await.expect("a server");
    let mut client = server.client().await;
    let (user, session) = ("alice", "laptop");
    let asserted = AssertedCredential { how: "saml".into() };
    let elevate = ElevateRequest {
        user_id: user.into(),
        session_id: session.into(),
        credential: Some(elevate_request::Credential::Asserted(asserted)),
        ..Default::default()
    };
    client.elevate(elevate).await.expect("an elevation");
    let enroll =
        EnrollRequest { user_id: user.into(), session_id: session.into(), ..Default::default() };
    let enrollment = client.enroll(enroll).await.expect("an enrollment").into_inner();
    let app = parameters(&enrollment.otpauth_uri);
    assert_eq!(app["secret"], enrollment.secret);
    assert_eq!((app["algorithm"], app["digits"]), (algorithm, &*digits.to_string()));

    calm_step(std::time::Duration::from_secs(5)).await;
    let confirm = ConfirmEnrollmentRequest {
        user_id: user.into(),
        session_id: session.into(),
        totp_code: oathtool(&app, -1),
        ..Default::default()
    };
    client.confirm_enrollment(confirm).await.expect("the code of the step before");
    for offset in [0, 1] {
        let code = oathtool(&app, offset);
        assert_eq!(code.len(), digits);
        let request = verify_with(user, verify_request::Credential::TotpCode(code));
        client.verify(request).await.unwrap_or_else(|status| panic!("{offset}: {status:?}"));
    }
}

/// What the URI says after its question mark. None of these values needs an escape.
fn parameters(uri: &str) -> HashMap<&str, &str> {
    let (_, query) = uri.split_once('?').expect("a query");
    query.split('&').filter_map(|pair| pair.split_once('=')).collect()
}

/// The code that `oathtool` makes of the URI's parameters, so many steps from now.
fn oathtool(app: &HashMap<&str, &str>, offset: i64) -> String {
    let period: u64 = app["period"].parse().expect("a period");
    let time = now().as_secs().saturating_add_signed(offset * period.cast_signed());
    let output = Command::new("oathtool")
        .arg(format!("--totp={}", app["algorithm"]))
        .args(["--base32", "--digits", app["digits"]])
        .arg(format!("--time-step-size={period}s"))
        .arg(format!("--now=@{time}"))
        .arg(app["secret"])
        .output()
        .expect("oathtool is installed; tests/run installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("digits").trim().into()
}
