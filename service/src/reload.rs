//! Files that may change while the server runs: certificates, callers, keys.

use aws_lc_rs::digest::{SHA256, digest};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// How often the files are looked at.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// Calls `apply` when what is in one of the files has changed, and at SIGHUP, until the future is dropped.
///
/// Contents are compared, and not times: Kubernetes swaps a symbolic link far above the files, and a copy
/// that is put back is older than what it replaces. A change counts once two looks in a row find the same,
/// so that a file is not read while it is being written; SIGHUP says that it is whole. What is no regular
/// file, as the pipe of `--config <(...)`, can be read once alone and is never looked at.
///
/// `apply` is called once at the first look as well, so that no change since the start is missed: it
/// compares with what is in force, and does nothing where nothing differs. It may block.
pub fn on_change(
    files: Vec<PathBuf>,
    apply: impl FnMut() + Send + 'static,
) -> io::Result<impl Future<Output = ()> + Send> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut watch = Watch { files, applied: None, last: Vec::new(), apply };
    Ok(async move {
        loop {
            let is_told = tokio::select! {
                told = hangup.recv() => told.is_some(),
                () = tokio::time::sleep(INTERVAL) => false,
            };
            let looked = spawn_blocking(move || {
                watch.look(is_told);
                watch
            });
            match looked.await {
                Ok(same) => watch = same,
                Err(error) => return tracing::error!(%error, "files are not looked at any more"),
            }
        }
    })
}

/// Whether a file can be read again and again.
pub fn is_regular(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

struct Watch<Apply> {
    files: Vec<PathBuf>,
    /// What was in the files when they were last applied.
    applied: Option<Vec<Content>>,
    /// What was in them at the last look.
    last: Vec<Content>,
    apply: Apply,
}

/// The digest of a file's content, which may be a secret; `None` where it cannot be read.
type Content = Option<[u8; 32]>;

impl<Apply: FnMut()> Watch<Apply> {
    fn look(&mut self, is_told: bool) {
        let now: Vec<Content> = self.files.iter().map(|path| content(path)).collect();
        let is_settled = now == self.last;
        let is_changed = self.applied.as_ref() != Some(&now);
        if is_told || (is_settled && is_changed) {
            self.applied = Some(now.clone());
            (self.apply)();
        }
        self.last = now;
    }
}

fn content(path: &Path) -> Content {
    if !is_regular(path) {
        return None;
    }
    let content = fs::read(path).map(Zeroizing::new).ok()?;
    digest(&SHA256, &content).as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::os::unix::fs::symlink;

    fn watch<'apply>(
        files: &[&Path],
        applied: &'apply Cell<u32>,
    ) -> Watch<impl FnMut() + use<'apply>> {
        let files = files.iter().map(|path| path.to_path_buf()).collect();
        let apply = || applied.set(applied.get() + 1);
        let mut watch = Watch { files, applied: None, last: Vec::new(), apply };
        watch.look(false);
        watch.look(false);
        applied.set(0);
        watch
    }

    #[test]
    fn a_change_is_applied_once_when_it_has_settled() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "one").expect("a file");
        let applied = Cell::new(0);
        let mut watch = watch(&[&path], &applied);
        watch.look(false);
        assert_eq!(applied.get(), 0, "nothing changed");
        for half in ["tw", "two", "two and"] {
            fs::write(&path, half).expect("a file");
            watch.look(false);
            assert_eq!(applied.get(), 0, "{half} may be half a file");
        }
        watch.look(false);
        watch.look(false);
        assert_eq!(applied.get(), 1);
        fs::remove_file(&path).expect("removed");
        watch.look(false);
        watch.look(false);
        assert_eq!(applied.get(), 2, "a file that is gone is a change");
    }

    #[test]
    fn what_was_told_is_applied_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        fs::write(&path, "one").expect("a file");
        let applied = Cell::new(0);
        let mut watch = watch(&[&path], &applied);
        fs::write(&path, "two").expect("a file");
        watch.look(true);
        assert_eq!(applied.get(), 1);
        watch.look(false);
        watch.look(false);
        assert_eq!(applied.get(), 1, "and not again");
    }

    #[test]
    fn a_swapped_link_is_a_change_and_a_touched_file_is_none() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(at(version)).expect("a directory");
            fs::write(at(version).join("tls.crt"), version).expect("a file");
        }
        symlink("v1", at("data")).expect("a link");
        symlink("data/tls.crt", at("tls.crt")).expect("a link");
        let applied = Cell::new(0);
        let mut watch = watch(&[&at("tls.crt")], &applied);
        fs::write(at("v1/tls.crt"), "v1").expect("a file");
        watch.look(false);
        watch.look(false);
        assert_eq!(applied.get(), 0);
        symlink("v2", at("new")).expect("a link");
        fs::rename(at("new"), at("data")).expect("swapped");
        watch.look(false);
        watch.look(false);
        assert_eq!(applied.get(), 1);
    }

    #[test]
    fn what_is_no_regular_file_is_not_read() {
        // It has no end.
        let device = Path::new("/dev/zero");
        assert!(!is_regular(device));
        assert_eq!(content(device), None);
    }
}
