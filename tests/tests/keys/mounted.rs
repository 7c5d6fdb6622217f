//! A keyring that is mounted as Kubernetes mounts a Secret: a link to a link to a directory, which is swapped.

use crate::{ids, wait_for_log};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use twinlock::keyring::File;
use twinlock_tests::redis::until;
use twinlock_tests::{Options, Server, User, finish, twinlock};

const SETTING: &str = "keyring.file=mount/keyring.toml";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyring_in_a_mounted_secret_is_rotated_and_retired_from() {
    // The copy of whoever maintains the Secret, and the Secret in the pod.
    let server = Server::start(Options::default());
    let (outside, mount) = (server.directory().join("outside.toml"), Mount::of(&server));
    fs::copy(server.directory().join("twinlock-data/keyring.toml"), &outside).expect("a copy");
    mount.swap(&outside);
    let server = server.restart_with(Options::default().set(SETTING));
    let mut client = server.client().await;
    let user = User::enroll(&mut client, "alice").await;
    let (old, _) = ids(&outside);

    done(&server, &["rotate", "--prepare"]);
    mount.swap(&outside);
    until(|| done(&server, &["list"]).contains("not needed\n"), "the prepared key to be known");
    done(&server, &["rotate", "--file-only"]);
    let (new, _) = ids(&outside);
    assert_ne!(old, new);
    mount.swap(&outside);
    wait_for_log(&server, "no former key seals anything");
    done(&server, &["retire", &old, "--force", "--file-only"]);
    mount.swap(&outside);
    until(|| !done(&server, &["list"]).contains(&old), "the old key to be gone");
    client.verify(user.verify(user.code(0))).await.expect("a right code");

    // A Secret that is gone, or half of one, does no harm.
    fs::write(&outside, "primary = \"").expect("a file");
    mount.swap(&outside);
    until(|| server.probe("/readyz").contains("is not a TOML file"), "a warning");
    fs::remove_file(mount.0.join("..data")).expect("removed");
    until(|| server.probe("/readyz").contains("cannot read the keyring"), "a warning");
    assert!(user.describe(&mut client).await.enrolled);
}

/// Runs one on the copy outside, which the server does not read.
fn done(server: &Server, arguments: &[&str]) -> String {
    let mut command = twinlock();
    command.current_dir(server.directory()).arg("keys").args(arguments);
    command.args(["--set", "keyring.file=outside.toml", "--address", &server.address]);
    let (status, said, noted) = finish(&mut command);
    assert_eq!(status, Some(0), "keys {arguments:?}: {said}{noted}");
    said + &noted
}

struct Mount(PathBuf);

impl Mount {
    fn of(server: &Server) -> Self {
        let mount = server.directory().join("mount");
        fs::create_dir(&mount).expect("a directory");
        symlink("..data/keyring.toml", mount.join("keyring.toml")).expect("a link");
        Self(mount)
    }

    /// Puts what is in a file in the place of what was there, as the kubelet does, which removes that then.
    fn swap(&self, file: &Path) {
        let data = self.0.join("..data");
        let former = fs::read_link(&data).ok();
        let version = tempfile::Builder::new().prefix("..2027_").tempdir_in(&self.0);
        let version = version.expect("a directory").keep();
        fs::copy(file, version.join("keyring.toml")).expect("a copy");
        symlink(version.file_name().expect("a name"), self.0.join("..data_tmp")).expect("a link");
        fs::rename(self.0.join("..data_tmp"), &data).expect("swapped");
        if let Some(former) = former {
            fs::remove_dir_all(self.0.join(former)).expect("removed");
        }
        let readable = File::read(&self.0.join("keyring.toml")).is_ok();
        assert_eq!(readable, File::read(file).is_ok());
    }
}
