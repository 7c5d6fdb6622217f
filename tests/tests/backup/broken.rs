//! Backups that are damaged, or were never finished.

use super::{backup, done, run, serving};
use std::fs;
use std::process::{Child, Stdio};
use twinlock_tests::Options;
use twinlock_tests::redis::{Program, Server as Redis, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_is_refused_and_nothing_is_written() {
    let mut server = serving(Options::default(), 2_000).await;
    done(&mut backup(&server, "whole"));
    assert!(server.stop().success());
    let redis = Redis::start(Program::Redis, &[]);
    let whole = fs::read(server.directory().join("whole")).expect("a file");
    let middle = whole.len() / 2;
    let mut damaged: Vec<(String, Vec<u8>)> = (0..whole.len())
        .step_by(whole.len() / 12)
        .map(|index| {
            let mut flipped = whole.clone();
            flipped[index] ^= 1;
            (format!("bit 0 of byte {index}"), flipped)
        })
        .collect();
    damaged.push(("its last byte".into(), whole[..whole.len() - 1].to_vec()));
    damaged.push(("its half".into(), whole[..middle].to_vec()));
    damaged.push(("a chunk".into(), [&whole[..53], &whole[53 + 65_552..]].concat()));
    damaged.push(("a byte more".into(), [&whole[..], b"x"].concat()));
    let url = format!("store.redis.urls={}", redis.url());
    for (what, bytes) in damaged {
        fs::write(server.directory().join("damaged"), bytes).expect("a file");
        let mut restore = server.command("restore");
        let restored = run(restore.args(["damaged", "--set", "store.kind=redis", "--set", &url]));
        assert_eq!(restored.status, Some(1), "{what}: {}", restored.output);
        assert!(restored.errors.contains("damaged is not restored"), "{}", restored.errors);
        let keys = redis.command("DBSIZE");
        assert_eq!(keys, redis::Value::Int(0), "{what}: something was written");
    }
    let mut dry = server.command("restore");
    let dry = run(dry.args(["whole", "--dry-run", "--set", "store.kind=redis", "--set", &url]));
    assert_eq!(dry.status, Some(0), "{}", dry.errors);
    assert!(dry.output.contains("It would write 2000 records"), "{}", dry.output);
    assert_eq!(redis.command("DBSIZE"), redis::Value::Int(0));
    // The store that was backed up is not empty.
    let refused = run(server.command("restore").arg("whole"));
    assert_eq!(refused.status, Some(1));
    assert!(refused.errors.contains("a dataset with 2000 records"), "{}", refused.errors);
    assert!(refused.errors.contains("--replace"), "{}", refused.errors);
    done(server.command("restore").args(["whole", "--replace"]));
    done(&mut server.command("doctor"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_leaves_no_file() {
    let mut server = serving(Options::default(), 30_000).await;
    // It may be done before the server is: then there is a file, and it is tried again.
    let mut cut_off = None;
    for _ in 0..10 {
        let mut command = backup(&server, "never");
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it runs");
        let unfinished = server.directory().join(format!(".never.{}.unfinished", child.id()));
        until(
            || fs::metadata(&unfinished).map_or(child_ended(&mut child), |it| it.len() > 0),
            "the backup to begin",
        );
        server.kill();
        let status = child.wait().expect("it ends");
        if !status.success() {
            cut_off = Some(status);
            break;
        }
        fs::remove_file(server.directory().join("never")).expect("a finished backup");
        server = server.restart();
    }
    assert_eq!(cut_off.and_then(|status| status.code()), Some(3), "it was never cut off");
    let left: Vec<_> = fs::read_dir(server.directory())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .filter(|name| name.contains("never"))
        .collect();
    assert_eq!(left, [""; 0]);

    let output = fs::File::create(server.directory().join("piped")).expect("a file");
    let server = server.restart();
    let piped = backup(&server, "-").stdout(output).status().expect("it runs");
    assert!(piped.success());
    done(server.command("restore").args(["piped", "--dry-run", "--set", "store.path=elsewhere"]));
    // What is there is not written over by accident.
    let refused = run(&mut backup(&server, "piped"));
    assert_eq!(refused.status, Some(2));
    assert!(refused.errors.contains("--force"), "{}", refused.errors);
    done(backup(&server, "piped").arg("--force"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(server.directory().join("piped")).expect("a file").permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

fn child_ended(child: &mut Child) -> bool {
    child.try_wait().expect("a child").is_some()
}
