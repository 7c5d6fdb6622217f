//! What end-to-end tests share: the real server as a process of its own, and clients of it.

pub mod fault_proxy;
pub mod http;
pub mod over_redis;
pub mod raw;
pub mod redis;
pub mod scenario;
mod user;

pub use user::{Client, User, verify_with};

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use twinlock_core::Timestamp;
use twinlock_core::totp::{self, Parameters, Secret, Step};
use twinlock_proto::v1::two_step_service_client::TwoStepServiceClient;

/// The `twinlock` binary of the same build as the tests.
pub fn binary() -> PathBuf {
    let tests = std::env::current_exe().expect("a test knows its path");
    let profile = tests.ancestors().nth(2).expect("tests are in PROFILE/deps");
    let binary = profile.join("twinlock");
    assert!(binary.exists(), "{} is missing; run `cargo build`", binary.display());
    binary
}

/// The program, with nothing around the tests that configures it.
pub fn twinlock() -> Command {
    let mut command = Command::new(binary());
    unconfigure(&mut command);
    command
}

/// How to start a server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Settings, as `section.key=value`.
    pub set: Vec<String>,
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// A configuration file's text.
    pub file: Option<String>,
    /// Where it listens; a free port of loopback otherwise.
    pub listen: Option<String>,
    /// A limit of the operating system, as the shell's `ulimit` knows it: `-n 64`.
    pub limit: Option<String>,
}

impl Options {
    /// Adds a setting.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Self {
        self.set.push(setting.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the text of the configuration file.
    #[must_use]
    pub fn file(mut self, text: &str) -> Self {
        self.file = Some(text.into());
        self
    }

    /// Sets where it listens.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Sets a limit of the operating system, as the shell's `ulimit` knows it.
    #[must_use]
    pub fn limit(mut self, limit: &str) -> Self {
        self.limit = Some(limit.into());
        self
    }
}

/// A real server, on a free port of loopback, with a directory of its own. It is killed when dropped.
pub struct Server {
    /// Where it listens: `http://127.0.0.1:PORT`.
    pub address: String,
    /// Where its probes are: `http://127.0.0.1:PORT`.
    pub probes: String,
    directory: Arc<TempDir>,
    options: Options,
    /// None where something else has started it.
    child: Option<Child>,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Makes a new dataset and starts a server on it.
    pub fn start(options: Options) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let directory = Arc::new(directory);
        if let Some(text) = &options.file {
            std::fs::write(directory.path().join("twinlock.toml"), text).expect("a file");
        }
        let init = command(directory.path(), &options, "init").arg("--new-dataset").output();
        let init = init.expect("twinlock init runs");
        assert!(init.status.success(), "init: {}", String::from_utf8_lossy(&init.stderr));
        Self::start_in(directory, options)
    }

    /// Starts a server with the defaults.
    pub fn start_default() -> Self {
        Self::start(Options::default())
    }

    fn start_in(directory: Arc<TempDir>, options: Options) -> Self {
        let mut serve = command(directory.path(), &options, "serve");
        let listen = options.listen.as_deref().unwrap_or("127.0.0.1:0");
        serve.args(["--listen", listen, "--set", "telemetry.listen=127.0.0.1:0"]);
        let mut child = serve
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("twinlock serve starts");
        let log = Arc::new(Mutex::new(String::new()));
        let errors = follow(child.stderr.take().expect("a pipe"), log.clone());
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut found = |after: &str| {
            let mut line = String::new();
            while output.read_line(&mut line).expect("readable output") > 0 {
                if let Some((_, rest)) = line.split_once(after) {
                    return rest.split_whitespace().next().map(str::to_owned);
                }
                line.clear();
            }
            None
        };
        let address = found("is listening on ");
        let probes = found("Probes are on ");
        let (Some(address), Some(probes)) = (address, probes) else {
            let status = child.wait();
            errors.join().expect("the log was read");
            panic!("twinlock serve ended: {status:?}: {}", log.lock().expect("a log"));
        };
        follow(output, log.clone());
        Self { address, probes, directory, options, child: Some(child), log }
    }

    /// A server that something else has started: it can be called, and is not stopped with this.
    pub fn elsewhere(address: &str) -> Self {
        Self {
            address: address.into(),
            probes: String::new(),
            directory: Arc::new(tempfile::tempdir().expect("a directory")),
            options: Options::default(),
            child: None,
            log: Arc::default(),
        }
    }

    /// Starts again on the same data, after [`Server::kill`] or [`Server::stop`]; the port is a new one.
    #[must_use]
    pub fn restart(self) -> Self {
        let options = self.options.clone();
        self.restart_with(options)
    }

    /// Starts again on the same data with other options.
    #[must_use]
    pub fn restart_with(mut self, options: Options) -> Self {
        self.kill();
        Self::start_in(self.directory.clone(), options)
    }

    /// How it was started.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A client of the generated code: no request ids of its own, no retries.
    pub async fn client(&self) -> Client {
        TwoStepServiceClient::new(self.channel().await)
    }

    /// A connection.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.address.clone()).expect("an address");
        endpoint.connect().await.expect("the server answers")
    }

    /// Where it listens, without the scheme.
    pub fn authority(&self) -> &str {
        self.address.split_once("://").map_or(&self.address, |(_, authority)| authority)
    }

    /// What a path of its probes answers, the head included.
    pub fn probe(&self, path: &str) -> String {
        let (_, authority) = self.probes.split_once("://").expect("an address");
        let mut stream = std::net::TcpStream::connect(authority).expect("a connection");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n")
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// The directory that it runs in; its data is in `twinlock-data` there.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a server of this process").id()
    }

    /// A value in bytes that the kernel keeps of its memory: `VmRSS` is what it has now, `VmHWM` the
    /// most that it ever had.
    pub fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("a living process");
        let line = status.lines().find(|line| line.starts_with(name)).expect("a known name");
        let kib = line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok());
        kib.expect("a number") * 1024
    }

    /// The processor's time that it has used so far.
    pub fn processor_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.pid());
        let stat = std::fs::read_to_string(path).expect("a living process");
        // The name, in parentheses, may hold anything; after it come the fields from the third on.
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks: u64 =
            fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
        // The kernel counts a hundred ticks a second for user space, whatever its own pace.
        Duration::from_millis(ticks * 10)
    }

    /// What it has written to its log and its output so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("a log").clone()
    }

    /// Kills it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            child.wait().expect("it ends");
        }
    }

    /// Sends it a signal, by the name that `kill` knows.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Tells it to stop and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let child = self.child.as_mut().expect("a server of this process");
            if let Some(status) = child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < limit, "it did not stop: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A `twinlock` command in the server's directory, with its settings.
    pub fn command(&self, name: &str) -> Command {
        command(self.directory(), &self.options, name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Hides from a command what configures the tests, or a server of whoever runs them.
pub fn unconfigure(command: &mut Command) {
    for (variable, _) in std::env::vars_os() {
        if variable.as_encoded_bytes().starts_with(b"TWINLOCK_") {
            command.env_remove(variable);
        }
    }
}

/// Runs a command that is expected to end soon; gives its exit status, its output and its errors.
pub fn finish(command: &mut Command) -> (Option<i32>, String, String) {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the command starts");
    let limit = Instant::now() + Duration::from_secs(20);
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > limit {
            child.kill().expect("it is killed");
            let output = child.wait_with_output().expect("its output");
            panic!("it did not end: {output:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().expect("its output");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn command(directory: &Path, options: &Options, name: &str) -> Command {
    let mut command = match &options.limit {
        None => twinlock(),
        Some(limit) => {
            let mut shell = Command::new("sh");
            // A file that may not grow is to be an error, as on a full disk, and not a signal.
            let script = format!("trap '' XFSZ; ulimit {limit}; exec \"$0\" \"$@\"");
            shell.args(["-c", &script]).arg(binary());
            unconfigure(&mut shell);
            shell
        }
    };
    command.arg(name).current_dir(directory);
    if options.file.is_some() {
        command.args(["--config", "twinlock.toml"]);
    }
    for setting in &options.set {
        command.args(["--set", setting]);
    }
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    command
}

fn follow(
    stream: impl Read + Send + 'static,
    log: Arc<Mutex<String>>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { return };
            let mut log = log.lock().expect("a log");
            log.push_str(&line);
            log.push('\n');
        }
    })
}

/// The code of an authenticator with the default parameters, `offset` steps from now.
pub fn code(secret: &str, offset: i64) -> String {
    code_at(secret, &Parameters::default(), offset)
}

/// The code of an authenticator, `offset` steps from now.
pub fn code_at(secret: &str, parameters: &Parameters, offset: i64) -> String {
    let secret = Secret::parse_base32(secret).expect("a secret");
    let Step(step) = parameters.period.step(now());
    let step = Step(step.saturating_add_signed(offset));
    totp::generate(&secret, parameters, step).expose().to_string()
}

/// A code of six digits that is none of those near now.
pub fn wrong_code(secret: &str) -> String {
    let near: Vec<String> = (-3..=3).map(|offset| code(secret, offset)).collect();
    (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).expect("a wrong code")
}

/// The reason of a failed call, as its trailer gives it; the name of the gRPC code where it has none.
pub fn reason(status: &Status) -> String {
    let trailer = status.metadata().get("twinlock-reason").and_then(|value| value.to_str().ok());
    trailer.map_or_else(|| format!("{:?}", status.code()), str::to_owned)
}

/// The wait that a failed call asks for.
pub fn retry_after(status: &Status) -> Option<Duration> {
    let trailer = status.metadata().get("twinlock-retry-after-ms")?.to_str().ok()?;
    trailer.parse().ok().map(Duration::from_millis)
}

/// Waits until the present step has at least this long to go, so that what a test computes now still
/// holds when the server looks at it.
pub async fn calm_step(least: Duration) {
    let period = Parameters::default().period;
    let left = period.until_next_step(now());
    if left < least {
        tokio::time::sleep(left + Duration::from_millis(20)).await;
    }
}

/// The machine's time.
pub fn now() -> Timestamp {
    twinlock_engine::clock::system()()
}
