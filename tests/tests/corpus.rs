//! The corpora of the fuzz targets, without a fuzzer: what it found once stays found.

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use fuzz::TARGETS;
use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[test]
fn every_target_holds_for_every_input_of_its_corpus() {
    let mut failed = Vec::new();
    for (name, target) in TARGETS {
        let inputs = files(&directory("corpus").join(name));
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for path in inputs {
            let input = fs::read(&path).expect("an input");
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "these fail, for the reasons above: {failed:#?}");
}

/// No input at all, and each input of the corpora given to every target: most are nonsense to it.
#[test]
fn every_target_holds_for_what_is_not_meant_for_it() {
    for (_, target) in TARGETS {
        target(b"");
        for (other, _) in TARGETS {
            for path in files(&directory("corpus").join(other)).iter().take(5) {
                target(&fs::read(path).expect("an input"));
            }
        }
    }
}

#[test]
fn every_target_has_a_program_and_a_corpus_and_there_are_no_others() {
    let names: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<String> {
        let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
        fs::read_dir(directory(folder))
            .expect("a directory")
            .map(|entry| stem(entry.expect("an entry").path()))
            .collect()
    };
    assert_eq!(stems("fuzz_targets"), names);
    assert_eq!(stems("corpus"), names);
}

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz").join(name)
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}
