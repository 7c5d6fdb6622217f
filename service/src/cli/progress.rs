//! How far long work is, where somebody watches.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal as _, Read, Seek, SeekFrom};

/// A bar on standard error, where that is a terminal.
pub(super) fn bar(what: &'static str, unit: Unit, json: bool) -> ProgressBar {
    if json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let count = match unit {
        Unit::Records => "{human_pos} of {human_len}, {eta} left",
        Unit::Bytes => "{decimal_bytes} of {decimal_total_bytes}, {eta} left",
    };
    let style = ProgressStyle::with_template(&format!("{{msg}} {{wide_bar}} {count}"));
    let bar = ProgressBar::new(0).with_style(style.unwrap_or(ProgressStyle::default_bar()));
    bar.with_message(what)
}

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Records,
    Bytes,
}

/// A file whose reader is shown on a bar of bytes.
pub(super) struct Watched<R> {
    pub(super) file: R,
    pub(super) bar: ProgressBar,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bar.inc(count as u64);
        Ok(count)
    }
}

impl<R: Seek> Seek for Watched<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = self.file.seek(to)?;
        self.bar.set_position(position);
        Ok(position)
    }
}
