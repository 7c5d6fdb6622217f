//! Files that are no good: each ends with a clear error, and nothing is sent.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Run, command, sample};

/// Nobody listens there: whatever is sent fails.
const NOWHERE: &str = "http://127.0.0.1:1";

fn import(file: &Path, arguments: &[&str]) -> Run {
    Run::of(command(NOWHERE, file).args(arguments))
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let sample = |name: &str| std::fs::read(sample(name)).expect("a sample");
    let cut = |name: &str| {
        let mut bytes = sample(name);
        bytes.truncate(bytes.len() * 2 / 3);
        bytes
    };
    let flipped = |name: &str, offset: usize| {
        let mut bytes = sample(name);
        let last = bytes.len() - offset;
        bytes[last] ^= 1;
        bytes
    };
    let deep = |open: &str| open.repeat(300_000).into_bytes();
    let laughs =
        "<!DOCTYPE x [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]><KeyContainer>&b;</KeyContainer>";
    let pi = sample_key("privacyidea.pi.key");
    let pskc = sample_key("privacyidea.xml.key");
    let (pi, pskc): (&[&str], &[&str]) = (&["--key-file", &pi], &["--key-file", &pskc]);
    let cases: &[(&str, Vec<u8>, &[&str], &str)] = &[
        ("empty", Vec::new(), &[], "Nothing tells the format of the file"),
        ("zeros", vec![0; 100_000], &[], "Nothing tells the format of the file"),
        ("prose", b"Dear all,\nsee below.\n".to_vec(), &[], "Nothing tells the format of the file"),
        (
            "prose",
            b"Dear all,\nsee below.\n".to_vec(),
            &["--format", "otpauth"],
            "no column otpauth_uri",
        ),
        ("bytes", b"user_id,otpauth_uri\nal\xffice,x\n".to_vec(), &[], "not UTF-8: see line 2"),
        ("utf-16", b"\xff\xfeu\0s\0e\0r\0".to_vec(), &[], "UTF-16"),
        (
            "other format",
            sample("kratos.json"),
            &["--format", "keycloak"],
            "tells of no authenticator",
        ),
        ("cut", cut("django-otp.json"), &[], "goes wrong, in line"),
        ("cut", cut("keycloak.json"), &[], "goes wrong, in line"),
        ("cut", cut("vault.json"), &[], "goes wrong, in line"),
        ("cut", cut("privacyidea.xml"), pskc, "ends too early"),
        ("cut", cut("privacyidea.pi"), pi, "does not open the file"),
        ("flipped", flipped("privacyidea.pi", 100), pi, "does not open the file"),
        ("wrong key", sample("privacyidea.pi"), pskc, "key is not of its form"),
        ("wrong key", sample("privacyidea.xml"), pi, "key is not of its form"),
        ("no key", sample("privacyidea.pi"), &[], "--key-file"),
        ("no key", sample("privacyidea.xml"), &[], "--key-file"),
        ("no hash", sample("privacyidea.csv"), &[], "--algorithm SHA1"),
        ("laughs", laughs.into(), &[], "DTD"),
        ("deep", deep("["), &["--format", "kratos"], "goes wrong, in line"),
        ("deep", deep("{\"users\":"), &["--format", "keycloak"], "goes wrong, in line"),
        ("deep", deep("<KeyContainer>"), &[], "ends too early"),
        ("unknown name", sample("vault.json"), &["--user-from", "id"], "It tells account."),
        ("no users", sample("vault.json"), &["--users", "/nowhere"], "cannot be read"),
        ("bad users", sample("vault.json"), &["--users", "/dev/null"], "file of users must have"),
    ];
    for (number, (name, bytes, arguments, problem)) in cases.iter().enumerate() {
        let file = directory.path().join(format!("{number}"));
        std::fs::write(&file, bytes).expect("a file");
        for dry_run in [&[][..], &["--dry-run"]] {
            let run = import(&file, &[arguments, dry_run].concat());
            assert_eq!(run.status, 2, "{number} {name}: {}{}", run.output, run.errors);
            assert!(run.errors.contains(problem), "{number} {name}: {}", run.errors);
            assert_eq!(run.output, "", "{number} {name}");
            assert!(!run.errors.contains("panicked"), "{number} {name}: {}", run.errors);
        }
    }
}

fn sample_key(name: &str) -> String {
    sample(name).to_str().expect("a path").to_owned()
}

#[test]
fn a_missing_file_and_a_directory_cannot_be_read() {
    for path in ["/nowhere/at-all", "/"] {
        let run = import(Path::new(path), &[]);
        assert_eq!(run.status, 2, "{}", run.errors);
        assert!(run.errors.contains("cannot be read"), "{}", run.errors);
    }
}

#[test]
fn a_huge_file_is_refused_before_it_fills_the_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("huge.json");
    // A terabyte of nothing, on file systems that keep holes as holes.
    std::fs::File::create(&path).expect("a file").set_len(1 << 40).expect("a length");
    let run = import(&path, &["--format", "keycloak"]);
    assert_eq!(run.status, 2, "{}", run.errors);
    assert!(run.errors.contains("more than 256 MiB"), "{}", run.errors);
}

#[test]
fn standard_input_is_a_file_too() {
    let mut command = command(NOWHERE, Path::new("-"));
    command.args(["--dry-run"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let bytes = std::fs::read(sample("supertokens.csv")).expect("a sample");
    child.stdin.take().expect("a pipe").write_all(&bytes).expect("written");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1));
    let output = String::from_utf8(output.stdout).expect("text");
    assert!(output.contains("Read as supertokens: 3 would be imported, 2 skipped."), "{output}");
}

#[test]
fn a_dry_run_needs_no_server_and_a_real_one_says_that_there_is_none() {
    let file = sample("vault.json");
    assert_eq!(import(&file, &["--dry-run"]).status, 1);
    let run = import(&file, &[]);
    assert_eq!(run.status, 3, "{}", run.errors);
    assert!(run.output.contains("Stopped: "), "{}", run.output);
    assert!(run.output.contains("0 imported"), "{}", run.output);
}

#[test]
fn a_terminal_sees_how_far_it_is() {
    let server = twinlock_tests::Server::start_default();
    let lines = (0..2000).map(|number| {
        format!("user-{number},otpauth://totp/x?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n")
    });
    let file = server.directory().join("list.csv");
    let list = format!("user_id,otpauth_uri\n{}", lines.collect::<String>());
    std::fs::write(&file, list).expect("a file");
    let file = file.to_str().expect("a path");
    let binary = twinlock_tests::binary();
    let line = format!("{} import {file} --address {}", binary.display(), server.address);
    // `script` gives the command a terminal of its own.
    let mut script = Command::new("script");
    twinlock_tests::unconfigure(&mut script);
    let run = Run::of(script.args(["--quiet", "--return", "--command", &line, "/dev/null"]));
    assert_eq!(run.status, 0, "{}{}", run.output, run.errors);
    assert!(run.output.contains("of 2,000"), "{}", run.output);
    assert!(run.output.contains("2000 imported"), "{}", run.output);
}
