use super::*;
use crate::keyring::{generate, is_open_to_others, read};
use std::os::unix::fs::symlink;

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_800_000_000 + secs)
}

#[test]
fn a_generated_keyring_reads_again_and_is_its_owners_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keyring.toml");
    let marker = generate(&path).expect("made").new_marker();
    assert!(read(&path).expect("read").open_marker(&marker).is_ok());
    assert!(!is_open_to_others(&path));
    assert!(generate(&path).is_err(), "an existing keyring is never written over");
}

#[test]
fn an_error_never_quotes_a_key() {
    let secret = BASE64.encode(&[0x55; 31]);
    let broken = [
        format!("primary = \"0000000a\"\n[[key]]\nid = \"0000000a\"\nsecret = \"{secret}\""),
        format!("primary = \"0000000a\"\n[[key]]\nid = \"0000000a\"\nsecret = {secret}"),
        format!("primary = \"{secret}\"\n[[key]]\nid = \"x\"\nsecret = \"{secret}\""),
        format!("primary = \"0000000a\"\n[[key]]\nid = \"{secret}\"\nsecret = \"{secret}\""),
    ];
    for text in broken {
        let error = format!("{:?}", parse(&text).err().expect("broken"));
        assert!(!error.contains(&secret), "{error}");
    }
}

#[test]
fn a_rotation_keeps_the_former_key_and_the_times() {
    let mut file = File::generate(at(0));
    let first = file.primary;
    let second = file.rotate(at(60));
    let states: Vec<_> = file.entries().map(|key| (key.id, file.state(key))).collect();
    assert_eq!(states, [(second, State::Primary), (first, State::Former)]);
    assert!(file.keyring().expect("a keyring").is_former(first));
    let read = parse(&file.text().expect("text")).expect("it reads again");
    let times: Vec<_> = read.entries().map(|key| (key.primary_since, key.primary_until)).collect();
    assert_eq!(times, [(Some(at(60)), None), (Some(at(0)), Some(at(60)))]);
    assert_eq!(*read.text().expect("text"), *file.text().expect("text"));
}

#[test]
fn a_prepared_key_is_the_next_primary() {
    let mut file = File::generate(at(0));
    let first = file.primary;
    let next = file.prepare(at(1)).expect("none is prepared");
    assert_eq!((file.primary, file.prepared()), (first, Some(next)));
    assert!(file.keyring().expect("a keyring").is_prepared(next));
    assert!(file.prepare(at(2)).is_err(), "one at a time");
    assert_eq!(file.rotate(at(3)), next);
    assert_eq!((file.primary, file.prepared()), (next, None));
    let third = file.prepare(at(4)).expect("none is prepared");
    assert!(file.retire(third).is_ok() && file.retire(third).is_err());
    assert!(file.retire(next).is_err(), "the primary");
    assert_eq!(file.retire(first).map(|key| key.id).ok(), Some(first));
}

#[test]
fn a_file_without_times_is_read_and_what_a_later_release_wrote_is_kept() {
    let [one, two] = [[1; 32], [2; 32]].map(|key| BASE64.encode(&key));
    let text = format!(
        "primary = \"0000000a\"\nlater = \"kept\"\n\
         [[key]]\nid = \"0000000a\"\nsecret = \"{one}\"\nhsm = {{ slot = 3 }}\n\
         [[key]]\nid = \"0000000b\"\nsecret = \"{two}\"\n"
    );
    let mut file = parse(&text).expect("it is a keyring");
    assert!(file.keyring().expect("a keyring").is_former(KeyId(11)));
    file.rotate(at(0));
    let text = file.text().expect("text");
    let table: toml::Table = toml::from_str(&text).expect("TOML");
    assert_eq!(table["later"].as_str(), Some("kept"));
    assert_eq!(table["key"][0]["hsm"]["slot"].as_integer(), Some(3));
    assert!(parse(&text).is_ok());
}

#[test]
fn a_change_is_whole_keeps_link_and_mode_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let (real, link) = (directory.path().join("real"), directory.path().join("keyring.toml"));
    let first = File::generate(at(0));
    first.create(&real).expect("made");
    symlink("real", &link).expect("a link");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("a mode");
    let next = File::change(&link, |file| Ok(file.rotate(at(1)))).expect("changed");
    assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    assert_eq!(fs::metadata(&real).expect("there").mode() & 0o777, 0o640);
    assert_eq!(File::read(&link).expect("read").primary, next);
    let refused: Result<()> = File::change(&link, |_| bail!("no"));
    assert!(refused.is_err());
    assert_eq!(File::read(&link).expect("read").primary, next);
    assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 2);
}

#[test]
fn changes_at_once_lose_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("keyring.toml");
    File::generate(at(0)).create(&path).expect("made");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| File::change(&path, |file| Ok(file.rotate(at(1)))).expect("changed"));
        }
    });
    assert_eq!(File::read(&path).expect("read").entries().count(), 9);
}
