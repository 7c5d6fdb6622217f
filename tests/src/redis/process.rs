//! One server as a process of its own.

use redis::{Connection, Value};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// How long a server may take to start or to get into a state.
const LIMIT: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// Debian's Redis 7.
    Redis,
    /// Valkey 9.
    Valkey,
}

impl Program {
    fn path(self) -> PathBuf {
        match self {
            Self::Redis => "redis-server".into(),
            Self::Valkey => {
                let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
                let server = tools.join("valkey-server");
                assert!(
                    server.exists(),
                    "{} is missing; run tests/install-redis",
                    server.display()
                );
                server
            }
        }
    }
}

/// A server, with a directory of its own.
pub struct Server {
    /// Its port on loopback.
    pub port: u16,
    directory: TempDir,
    program: Program,
    arguments: Vec<String>,
    running: Option<Running>,
}

struct Running {
    /// A shell that kills the server when its input is closed, as it is when this process ends.
    guard: Child,
    input: Option<ChildStdin>,
    pid: String,
}

impl Server {
    /// Starts one that keeps an append-only file and syncs it at every write, so that it may be killed at
    /// any time; the arguments come after those.
    pub fn start(program: Program, arguments: &[&str]) -> Self {
        let mut all = vec!["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        all.extend(arguments);
        Self::start_bare(program, &all)
    }

    /// Starts one with these arguments alone. `PORT` and `DIRECTORY` in them are replaced, and `OTHER` by
    /// another free port.
    pub fn start_bare(program: Program, arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().expect("a directory"), program, arguments)
    }

    /// The same with a configuration file.
    pub fn start_with_file(program: Program, text: &str, arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("server.conf"), text).expect("a file");
        Self::start_in(directory, program, arguments)
    }

    fn start_in(directory: TempDir, program: Program, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut server = Self { port: 0, directory, program, arguments, running: None };
        // Somebody else may take the port between the look and the bind.
        for _ in 0..5 {
            server.port = free_port();
            let other = free_port().to_string();
            let mut arguments = server.arguments.clone();
            for argument in &mut arguments {
                *argument = server.filled(argument).replace("OTHER", &other);
            }
            if server.run(&arguments) {
                server.arguments = arguments;
                return server;
            }
        }
        panic!("{program:?} does not start: {}", server.log());
    }

    /// Starts it again, on the same port and data.
    pub fn restart(&mut self) {
        self.begin_again();
        assert!(self.answers(), "{:?} does not start again: {}", self.program, self.log());
    }

    /// The same, without waiting until it answers.
    pub fn begin_again(&mut self) {
        self.kill();
        let arguments = self.arguments.clone();
        self.spawn(&arguments);
    }

    /// The same with more arguments, this once.
    pub fn begin_again_with(&mut self, more: &[&str]) {
        self.kill();
        let more = more.iter().map(ToString::to_string);
        let arguments: Vec<String> = self.arguments.iter().cloned().chain(more).collect();
        self.spawn(&arguments);
    }

    /// Kills it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.input.take());
            running.guard.wait().expect("the guard ends");
        }
    }

    /// Sends it a signal, by the name that `kill` knows.
    pub fn signal(&self, name: &str) {
        let pid = &self.running.as_ref().expect("a running server").pid;
        let sent = Command::new("kill").args(["-s", name, pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has written to its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Runs a command of words, as its default user.
    pub fn command(&self, words: &str) -> Value {
        let parts: Vec<&str> = words.split_whitespace().collect();
        self.run_command(&parts)
    }

    /// Runs a command.
    pub fn run_command(&self, parts: &[&str]) -> Value {
        let value = self.try_command(parts);
        value.unwrap_or_else(|error| panic!("{parts:?} on {}: {error}", self.port))
    }

    /// Runs a command that may fail.
    pub fn try_command(&self, parts: &[&str]) -> redis::RedisResult<Value> {
        let mut command = redis::cmd(parts[0]);
        parts[1..].iter().for_each(|part| {
            command.arg(*part);
        });
        command.query(&mut self.connection()?)
    }

    /// A field of `INFO`.
    pub fn info(&self, field: &str) -> String {
        let info: String = redis::from_redis_value(self.command("INFO")).expect("text");
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in INFO")).trim().to_owned()
    }

    /// Waits until a field of `INFO` has a value.
    pub fn wait_for(&self, field: &str, value: &str) {
        until(|| self.info(field) == value, &format!("{field} to be {value}"));
    }

    fn connection(&self) -> redis::RedisResult<Connection> {
        let client = redis::Client::open(self.url())?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(connection)
    }

    fn filled(&self, argument: &str) -> String {
        let directory = self.directory.path().to_str().expect("a path of UTF-8");
        argument.replace("PORT", &self.port.to_string()).replace("DIRECTORY", directory)
    }

    fn run(&mut self, arguments: &[String]) -> bool {
        self.spawn(arguments);
        self.answers()
    }

    fn spawn(&mut self, arguments: &[String]) {
        const GUARD: &str =
            r#"log=$1; shift; "$@" >>"$log" 2>&1 & echo $!; cat >/dev/null; kill -9 $!; wait"#;
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(self.directory.path().join("log"))
            .arg(self.program.path())
            .args(self.configuration_file())
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(self.directory.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut pid = String::new();
        let output = guard.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut pid).expect("a line");
        let input = guard.stdin.take();
        self.running = Some(Running { guard, input, pid: pid.trim().into() });
    }

    /// A sentinel wants a file that it can write to.
    fn configuration_file(&self) -> Option<PathBuf> {
        let file = self.directory.path().join("server.conf");
        file.exists().then_some(file)
    }

    /// Whether it answers, perhaps after a while.
    fn answers(&self) -> bool {
        let limit = Instant::now() + LIMIT;
        while Instant::now() < limit {
            let pid = &self.running.as_ref().expect("a server").pid;
            // The shell that started it has not asked how it ended: it stays as a zombie.
            let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
            if stat.is_ok_and(|stat| stat.contains(") Z ")) {
                return false;
            }
            match self.try_command(&["PING"]) {
                Ok(_) => return true,
                Err(error) if error.code() == Some("NOAUTH") => return true,
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until something is so.
pub fn until(mut is_so: impl FnMut() -> bool, what: &str) {
    let limit = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < limit, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// A port that nobody listens on, below those that the system gives to clients.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that run at the same time begin at different places.
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port =
            FIRST + (u32::from(begin) * 37 + u32::from(step)).rem_euclid(u32::from(COUNT)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
