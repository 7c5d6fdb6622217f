//! Commands as a person or a script uses them.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use twinlock_tests::{binary, twinlock, unconfigure};

/// How long to wait for what a command says next.
const PATIENCE: Duration = Duration::from_secs(20);

/// A command of `twinlock` that nothing around the tests configures.
pub fn bare(name: &str) -> Command {
    let mut command = twinlock();
    command.arg(name);
    command
}

/// Runs a command that reads one line; gives its status, its output and its errors.
pub fn answer(arguments: &[&str], typed: &str) -> (i32, String, String) {
    let mut command = bare(arguments[0]);
    command.args(&arguments[1..]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    if !typed.is_empty() {
        // It may have failed already, without reading.
        let _ = writeln!(input, "{typed}");
    }
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a status"), text(output.stdout), text(output.stderr))
}

/// Reads until a text has come; gives all up to it.
pub fn read_until(stream: impl Read + Send + 'static, text: &str) -> String {
    Output::of(stream).until(text)
}

/// A command that talks in lines of JSON.
pub struct Script {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Script {
    pub fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = piped.spawn().expect("it starts");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    pub fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("readable output");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
    }

    pub fn write(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it reads");
    }

    pub fn end(mut self) -> i32 {
        drop(self.input);
        self.child.wait().expect("it ends").code().expect("a status")
    }
}

/// A command in a pseudo terminal, which `script` of util-linux makes.
pub struct Terminal {
    child: Child,
    input: ChildStdin,
    output: Output,
}

impl Terminal {
    /// Starts `twinlock` with arguments that hold no blanks of their own.
    pub fn start(arguments: &str) -> Self {
        let mut command = Command::new("script");
        let inside = format!("'{}' {arguments}", binary().display());
        command.args(["--quiet", "--return", "--command", &inside, "/dev/null"]);
        unconfigure(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("script (util-linux) runs");
        let input = child.stdin.take().expect("a pipe");
        let output = Output::of(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    /// Reads until it has said something; gives all up to it.
    pub fn until(&mut self, text: &str) -> String {
        self.output.until(text)
    }

    /// Types a line, as slowly as a person begins to: a question is asked before its answer is hidden.
    pub fn answer(&mut self, line: &str) {
        std::thread::sleep(Duration::from_millis(300));
        writeln!(self.input, "{line}").expect("it reads");
        self.input.flush().expect("it reads");
    }

    pub fn end(mut self) -> i32 {
        let status = self.child.wait().expect("it ends").code().expect("a status");
        drop(self.input);
        status
    }
}

/// What a command says, read on a thread so that waiting for it has an end.
struct Output {
    received: Receiver<Vec<u8>>,
    unread: String,
    partial: Vec<u8>,
}

impl Output {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let (sender, received) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                // When nobody listens any more, the command must not block for it.
                let _ = sender.send(buffer[..length].to_vec());
            }
        });
        Self { received, unread: String::new(), partial: Vec::new() }
    }

    fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.unread.find(text) {
                let rest = self.unread.split_off(at + text.len());
                return std::mem::replace(&mut self.unread, rest);
            }
            match self.received.recv_timeout(PATIENCE) {
                Ok(bytes) => self.partial.extend(bytes),
                Err(_) => panic!("it never said {text:?}, but: {}", self.unread),
            }
            let valid = match std::str::from_utf8(&self.partial) {
                Ok(whole) => whole.len(),
                Err(error) => error.valid_up_to(),
            };
            let bytes: Vec<u8> = self.partial.drain(..valid).collect();
            self.unread.push_str(&String::from_utf8(bytes).expect("it is valid so far"));
        }
    }
}
