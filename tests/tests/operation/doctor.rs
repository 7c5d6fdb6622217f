//! What doctor says of certificates and clocks, and its exit status.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use twinlock_tests::redis::{Program, Server as Redis};
use twinlock_tests::{Options, Server, finish, now};

const DAY: u64 = 24 * 3600;

/// Certificates and keys as they are in files.
struct Files {
    directory: TempDir,
    secrets: Vec<String>,
}

impl Files {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory"), secrets: Vec::new() }
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }

    /// A certificate that expires so many days from now, and its key; gives the setting of each.
    fn pair(&mut self, name: &str, days: i64) -> [String; 2] {
        let key = KeyPair::generate().expect("a key");
        let made = lasting(days).self_signed(&key).expect("a certificate");
        self.settings(name, &made.pem(), &key)
    }

    fn settings(&mut self, name: &str, chain: &str, key: &KeyPair) -> [String; 2] {
        let key = key.serialize_pem();
        self.secrets.push(key.lines().nth(1).expect("a line of the key").to_owned());
        let certificate = self.write(&format!("{name}.crt"), chain);
        let key = self.write(&format!("{name}.key"), &key);
        [format!("server.tls_cert={certificate}"), format!("server.tls_key={key}")]
    }
}

fn lasting(days: i64) -> CertificateParams {
    let mut params = CertificateParams::new(["localhost".into()]).expect("a name");
    // An hour more, so that a slow test does not see one day less.
    let at = now().as_secs().saturating_add_signed(days * DAY as i64) + 3600;
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(at);
    params
}

/// What doctor says of one subject, and its exit status.
fn doctor(server: &Server, settings: &[String], subject: &str) -> (Option<i32>, Vec<String>) {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let (status, output, errors) = finish(server.command("doctor").args(settings));
    assert!(errors.is_empty(), "{errors}");
    let lines: Vec<&str> = output.lines().collect();
    let failed = lines.iter().any(|line| line.starts_with("FAIL"));
    assert_eq!(status, Some(i32::from(failed)), "{output}");
    let begins = [format!("ok    {subject}: "), format!("FAIL  {subject}: ")];
    let said = lines.into_iter().filter(|line| begins.iter().any(|it| line.starts_with(it)));
    (status, said.map(str::to_owned).collect())
}

#[test]
fn doctor_warns_of_certificates_that_expire_and_fails_for_those_that_have() {
    let mut server = Server::start_default();
    assert!(server.stop().success());
    let mut files = Files::new();
    for (days, expected, status) in [
        (400, "ok    certificates: server.tls_cert is valid for 400 more days", 0),
        (14, "ok    certificates: server.tls_cert is valid for 14 more days", 0),
        (
            13,
            "ok    certificates: warning: server.tls_cert: a certificate in it expires in 13 days; \
             renew it",
            0,
        ),
        (-1, "FAIL  certificates: server.tls_cert: a certificate in it has expired; renew it", 1),
    ] {
        let settings = files.pair("one", days);
        let found = doctor(&server, &settings, "certificates");
        assert_eq!(found, (Some(status), vec![expected.to_owned()]));
    }

    let mut early = lasting(400);
    early.not_before = early.not_after - Duration::from_secs(399 * DAY);
    let key = KeyPair::generate().expect("a key");
    let early = early.self_signed(&key).expect("a certificate").pem();
    let (status, said) = doctor(&server, &files.settings("early", &early, &key), "certificates");
    assert_eq!(status, Some(1));
    assert!(said[0].ends_with("not valid yet; set this machine's clock, or renew it"), "{said:?}");

    // One that vouches for another breaks the chain when it expires.
    let (authority_key, key) = (KeyPair::generate().expect("a key"), KeyPair::generate());
    let mut authority = lasting(3);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_pem = authority.self_signed(&authority_key).expect("a certificate").pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = key.expect("a key");
    let leaf = lasting(400).signed_by(&key, &issuer).expect("a certificate").pem();
    let chain = files.settings("chain", &(leaf + &authority_pem), &key);
    let (status, said) = doctor(&server, &chain, "certificates");
    assert_eq!(status, Some(0));
    assert!(said[0].contains("expires in 3 days; renew it"), "{said:?}");

    // So does one that vouches for callers.
    let fine = files.pair("fine", 400);
    let old = files.pair("old", -5)[0].replace("tls_cert", "tls_client_ca");
    let (status, said) = doctor(&server, &[&fine[..], &[old]].concat(), "certificates");
    assert_eq!(status, Some(1));
    assert!(said[0].contains("valid for 400 more days"), "{said:?}");
    let expected = "FAIL  certificates: server.tls_client_ca: a certificate in it has expired";
    assert!(said[1].starts_with(expected), "{said:?}");
}

#[test]
fn doctor_says_which_file_is_of_no_use_and_quotes_no_key() {
    let mut server = Server::start_default();
    assert!(server.stop().success());
    let mut files = Files::new();
    let [certificate, key] = files.pair("one", 400);
    let [_, key_of_another] = files.pair("other", 400);
    let missing = files.directory.path().join("none.pem").display().to_string();
    let no_pem = files.write("no.pem", "no PEM");
    let half = files.secrets[0].clone();
    let torn = format!("-----BEGIN PRIVATE KEY-----\n{half}\n-----END PRIVATE KEY-----\n");
    let torn = files.write("torn.key", &torn);
    for (settings, expected) in [
        ([certificate.clone(), key_of_another], "do not belong together"),
        ([format!("server.tls_cert={missing}"), key.clone()], "server.tls_cert: cannot read"),
        ([certificate.clone(), format!("server.tls_key={missing}")], "server.tls_key: cannot read"),
        ([format!("server.tls_cert={no_pem}"), key.clone()], "it holds no certificate in PEM"),
        ([certificate.clone(), format!("server.tls_key={no_pem}")], "holds no private key in PEM"),
        ([certificate, format!("server.tls_key={torn}")], "do not belong together, or are no use"),
    ] {
        let (status, said) = doctor(&server, &settings, "certificates");
        assert_eq!(status, Some(1), "{settings:?}");
        let said = said.join("\n");
        assert!(said.starts_with("FAIL") && said.contains(expected), "{settings:?}: {said}");
        assert!(files.secrets.iter().all(|secret| !said.contains(secret)), "{said}");
    }
}

#[test]
fn doctor_compares_the_stores_clock_with_the_machines() {
    let redis = Redis::start(Program::Redis, &[]);
    let options = Options::default().over_redis(&redis.url());
    let server = Server::start(options);
    let clock = |seconds: i64| {
        let faked = Options::default().clock_ahead(seconds).env;
        let (status, output, errors) = finish(server.command("doctor").envs(faked));
        assert!(errors.is_empty(), "{errors}");
        let lines = output.lines().filter(|line| line.contains("clock: "));
        (status, lines.map(str::to_owned).collect::<Vec<_>>())
    };
    let right = "ok    clock: the store's agrees with this machine's".to_owned();
    for seconds in [0, 5, -5] {
        assert_eq!(clock(seconds), (Some(0), vec!["ok    clock: it is set".into(), right.clone()]));
    }
    for (seconds, direction) in [(90, "behind"), (-90, "ahead of")] {
        let (status, said) = clock(seconds);
        assert_eq!((status, said.len()), (Some(1), 2), "{said:?}");
        let is_told = [89, 90, 91].into_iter().any(|apart| {
            said[1] == format!(
                "FAIL  clock: the store's is {apart} s {direction} this machine's; set both by NTP: \
                 codes are checked by the store's"
            )
        });
        assert!(is_told, "{said:?}");
    }
}

#[test]
fn doctor_notices_a_clock_that_was_never_set() {
    let mut server = Server::start_default();
    assert!(server.stop().success());
    let years = 20 * 365 * DAY as i64;
    let faked = Options::default().clock_ahead(-years).env;
    let (status, output, _) = finish(server.command("doctor").envs(faked));
    assert_eq!(status, Some(1), "{output}");
    let failed: Vec<&str> = output.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(failed, ["FAIL  clock: it was never set; set it, or no code will match"]);
}
