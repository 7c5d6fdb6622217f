//! Files of backups, and the records in them.

use std::io::Cursor;
use twinlock_core::record::Record;
use twinlock_engine::backup::Verified;
use twinlock_engine::examine::examine;
use twinlock_engine::seal::{KeyId, Keyring};
use twinlock_engine::store;
use zeroize::Zeroizing;

/// A backup as the first release wrote it.
const GENUINE: &[u8] = include_bytes!("../../crates/engine/tests/samples/backup-1.bin");

/// A file that may be a backup, changes to a genuine one, and bytes that may be a record: nothing but the
/// genuine file is taken, and no record but what was written under its user's key.
pub fn backup(input: &[u8]) {
    refused_unless_genuine(input);
    refused_unless_genuine(&changed(input));
    record(input);
}

/// Applies the input to the genuine file: three bytes at a time, where, and what becomes of the byte there.
/// Beyond the end, the file is cut off at the place, or the byte is added.
fn changed(input: &[u8]) -> Vec<u8> {
    let mut file = GENUINE.to_vec();
    for change in input.chunks_exact(3).take(64) {
        let (place, bits) = (usize::from(change[0]) << 8 | usize::from(change[1]), change[2]);
        let beyond = 2 * GENUINE.len();
        match file.get_mut(place) {
            Some(byte) => *byte ^= bits,
            None if place < beyond => file.push(bits),
            None => file.truncate(place % beyond),
        }
    }
    file
}

fn refused_unless_genuine(file: &[u8]) {
    let verified = Verified::read(Cursor::new(file), &keyring());
    match verified {
        Ok(verified) => {
            assert!(file == GENUINE, "another file was taken for a backup");
            assert_eq!(verified.contents().records, 2);
        }
        Err(error) => {
            assert!(file != GENUINE, "the genuine file was refused: {error}");
            assert!(!error.to_string().is_empty());
        }
    }
}

/// The content of a record, which nobody but Twinlock can put into one, and its bytes, which anybody with
/// access to the store can.
fn record(bytes: &[u8]) {
    if let Ok(content) = Record::decode(bytes) {
        let again = Record::decode(&content.encode()).expect("what was written is read");
        assert_eq!(again, content);
    }
    for genuine in genuine_records() {
        let forged = store::Record { bytes: bytes.to_vec(), ..genuine };
        let is_known = genuine_records().iter().any(|it| it.key == forged.key && it.bytes == bytes);
        assert!(examine(&keyring(), &forged).is_err() || is_known, "a record was forged");
    }
}

fn genuine_records() -> Vec<store::Record> {
    let mut verified = Verified::read(Cursor::new(GENUINE), &keyring()).expect("a backup");
    let reader = verified.records().expect("records");
    std::iter::from_fn(|| reader.next_record().expect("a record")).collect()
}

fn keyring() -> Keyring {
    let id = KeyId(0x0102_0304);
    Keyring::new(id, [(id, Zeroizing::new([0x42; 32]))]).expect("a keyring")
}
