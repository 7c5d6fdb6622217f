//! Certificates and authorities that are renewed while connections live.

use crate::authority::{Authority, first};
use crate::{call, caller, logged, token, until};
use std::os::unix::fs::symlink;
use tokio_rustls::rustls::version::TLS13;
use tonic::transport::Channel;
use twinlock_tests::{Options, Server};

const TOKEN: &str = "token-of-shop";

fn start(authority: &Authority, settings: &str) -> Server {
    let callers = caller("shop", &token(TOKEN), "") + &caller("web", "san = \"web.internal\"", "");
    authority.install(&authority.issue(&["localhost"]));
    Server::start(Options::default().file(&format!("{settings}{callers}")))
}

/// Whether new connections get this certificate.
async fn serves(authority: &Authority, server: &Server, pem: &str) -> bool {
    let stream = authority.handshake(server, None, &[&TLS13], &[b"h2"]).await;
    let stream = stream.expect("a handshake");
    stream.get_ref().1.peer_certificates().expect("a certificate")[0] == first(pem)
}

async fn still_works(channel: &Channel) {
    assert_eq!(call(channel, Some(TOKEN)).await, Ok(()), "on the old connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_to_new_connections_while_an_old_one_lives_on() {
    let authority = Authority::new();
    let server = start(&authority, &authority.settings_for_clients());
    let old = authority.channel(&server, None).await.expect("a connection");
    still_works(&old).await;

    let renewed = authority.issue(&["localhost"]);
    authority.install(&renewed);
    until("renewed without a signal", async || {
        serves(&authority, &server, &renewed.certificate).await
    })
    .await;
    logged(&server, &["INFO", "certificates were reloaded", "2100-01-01"]).await;
    still_works(&old).await;

    let again = authority.issue(&["localhost"]);
    authority.install(&again);
    server.signal("HUP");
    until("renewed at SIGHUP", async || serves(&authority, &server, &again.certificate).await)
        .await;
    still_works(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_refused_and_the_old_ones_stay() {
    let authority = Authority::new();
    let server = start(&authority, &authority.settings_for_clients());
    let used = authority.issue(&["localhost"]);
    authority.install(&used);
    server.signal("HUP");
    until("in use", async || serves(&authority, &server, &used.certificate).await).await;
    let old = authority.channel(&server, None).await.expect("a connection");

    let other = authority.issue(&["localhost"]);
    let expired = authority.issue_for(&["localhost"], (2020, 1, 1), (2021, 1, 1));
    let early = authority.issue_for(&["localhost"], (2090, 1, 1), (2100, 1, 1));
    for (certificate, key, words) in [
        (other.certificate.as_str(), used.key.as_str(), "do not belong together"),
        ("", &used.key, "it holds no certificate in PEM"),
        (&used.certificate[..200], &used.key, "server.tls_cert"),
        (&used.certificate, "nothing", "holds no private key in PEM"),
        (&expired.certificate, &expired.key, "the new certificate has expired"),
        (&early.certificate, &early.key, "the new certificate is not valid yet"),
    ] {
        std::fs::write(authority.path("tls.crt"), certificate).expect("a file");
        std::fs::write(authority.path("tls.key"), key).expect("a file");
        server.signal("HUP");
        logged(&server, &["ERROR", "a change was refused", words]).await;
        assert!(serves(&authority, &server, &used.certificate).await, "{words}");
        still_works(&old).await;
        let probe = server.probe("/readyz");
        assert!(probe.starts_with("HTTP/1.1 200"), "{probe}");
        assert!(
            probe.contains("warning: a change was refused") && probe.contains(words),
            "{probe}"
        );
    }
    assert!(!server.log().contains("PRIVATE KEY"), "{}", server.log());
    std::fs::remove_file(authority.path("tls.key")).expect("removed");
    server.signal("HUP");
    logged(&server, &["ERROR", "server.tls_key: cannot read"]).await;

    authority.install(&other);
    server.signal("HUP");
    until("mended", async || serves(&authority, &server, &other.certificate).await).await;
    still_works(&old).await;
    until("no warning is left", async || !server.probe("/readyz").contains("warning")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_directory_as_kubernetes_mounts_it_is_a_renewal() {
    let authority = Authority::new();
    let write = |version: &str| {
        let pair = authority.issue(&["localhost"]);
        std::fs::create_dir(authority.path(version)).expect("a directory");
        std::fs::write(authority.path(version).join("tls.crt"), &pair.certificate).expect("a file");
        std::fs::write(authority.path(version).join("tls.key"), &pair.key).expect("a file");
        pair
    };
    let [one, two] = ["..v1", "..v2"].map(write);
    symlink("..v1", authority.path("..data")).expect("a link");
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), authority.path(name)).expect("a link");
    }
    let file = authority.settings() + &caller("shop", &token(TOKEN), "");
    let server = Server::start(Options::default().file(&file));
    assert!(serves(&authority, &server, &one.certificate).await);
    symlink("..v2", authority.path("..new")).expect("a link");
    std::fs::rename(authority.path("..new"), authority.path("..data")).expect("swapped");
    until("swapped", async || serves(&authority, &server, &two.certificate).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_replaced_counts_for_new_connections() {
    let authority = Authority::new();
    let server = start(&authority, &authority.settings_for_clients());
    let web = authority.issue(&["web.internal"]);
    let old = authority.channel(&server, Some(&web)).await.expect("a connection");
    assert_eq!(call(&old, None).await, Ok(()));

    let successor = Authority::named("the successor");
    std::fs::write(authority.path("ca.pem"), &successor.pem).expect("a file");
    server.signal("HUP");
    logged(&server, &["certificates were reloaded"]).await;
    let successors = successor.issue(&["web.internal"]);
    let new = authority.channel(&server, Some(&successors)).await.expect("a connection");
    assert_eq!(call(&new, None).await, Ok(()));
    assert_eq!(call(&old, None).await, Ok(()), "the old connection lives on");
    let refused = authority.channel(&server, Some(&web)).await;
    assert!(refused.is_err() || call(&refused.expect("checked"), None).await.is_err());
    logged(&server, &["why=\"unknown_authority\""]).await;

    // No authority at all is no way to let everybody in.
    std::fs::write(authority.path("ca.pem"), "").expect("a file");
    server.signal("HUP");
    logged(&server, &["ERROR", "server.tls_client_ca"]).await;
    assert_eq!(call(&new, None).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_expires_soon_is_a_warning() {
    let authority = Authority::new();
    let server = start(&authority, &authority.settings_for_clients());
    assert!(!server.probe("/readyz").contains("expires"), "{}", server.probe("/readyz"));
    let now = twinlock_tests::now().as_secs();
    let (year, month, day) = civil(now / 86_400 + 7);
    authority.install(&authority.issue_for(&["localhost"], (2020, 1, 1), (year, month, day)));
    server.signal("HUP");
    logged(&server, &["WARN", "the server's certificate expires in 6 days"]).await;
    let probe = server.probe("/readyz");
    assert!(probe.starts_with("HTTP/1.1 200"), "{probe}");
    assert!(probe.contains("warning: the server's certificate expires in 6 days"), "{probe}");
}

/// The date of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (i32, u8, u8) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let small = |number: u64| u8::try_from(number).expect("small");
    (i32::try_from(year).expect("small"), small(month), small(day))
}
