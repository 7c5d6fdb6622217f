//! Servers as processes of their own, on free ports of loopback, stopped when they are dropped.

use crate::client::{Answer, Connection};
use crate::json::Connections;
use crate::people;
use anyhow::{Context as _, Result, bail};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;
use twinlock_proto::v1::VerifyRequest;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub struct Server {
    command: Command,
    child: Child,
    /// Its port on loopback.
    pub port: u16,
    /// From its start to its first answer.
    pub took: Duration,
}

/// Where Twinlock keeps its records.
#[derive(Clone, Copy)]
pub enum Store<'a> {
    /// In Redis, at a port of loopback.
    Redis(u16),
    /// In a file in this directory.
    Embedded(&'a Path),
}

impl Server {
    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Redis, which keeps nothing on disk: what its disk costs is not what is measured.
    pub async fn redis() -> Result<Self> {
        let port = free_port()?;
        let mut redis = Command::new("redis-server");
        redis.args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port"]);
        redis.arg(port.to_string());
        Self::start(redis, port, async |port| {
            let client = redis::Client::open(format!("redis://127.0.0.1:{port}"))?;
            client.get_multiplexed_async_connection().await.map(|_| ()).map_err(Into::into)
        })
        .await
    }

    /// One of the floors.
    pub async fn floor(kind: &str, runtime: &str, redis: u16, directory: &Path) -> Result<Self> {
        let port = free_port()?;
        let mut floor = Command::new(std::env::current_exe()?);
        floor.args(["floor", kind, runtime]).arg(port.to_string());
        if kind == crate::floor::REDB {
            std::fs::create_dir_all(directory)?;
            floor.arg(directory);
        } else {
            floor.arg(format!("redis://127.0.0.1:{redis}"));
        }
        Self::start(floor, port, answers).await
    }

    /// Twinlock on a dataset that is there, with settings in place of its defaults.
    pub async fn twinlock(store: Store<'_>, settings: &[&str]) -> Result<Self> {
        Self::twinlock_when(store, settings, answers).await
    }

    /// The same, with TLS.
    pub async fn twinlock_with_tls(
        store: Store<'_>,
        settings: &[&str],
        tls: &TlsConnector,
    ) -> Result<Self> {
        let ready = async |port| judge_by(Connection::open_with_tls(port, tls).await?).await;
        Self::twinlock_when(store, settings, ready).await
    }

    async fn twinlock_when(
        store: Store<'_>,
        settings: &[&str],
        ready: impl AsyncFn(u16) -> Result<()>,
    ) -> Result<Self> {
        let port = free_port()?;
        let mut serve = twinlock(store, "serve")?;
        serve.args(["--listen", &format!("127.0.0.1:{port}")]);
        serve.args(["--set", &format!("telemetry.listen=127.0.0.1:{}", free_port()?)]);
        for setting in settings {
            serve.args(["--set", setting]);
        }
        Self::start(serve, port, ready).await
    }

    /// One of the peers: a command to which its port is added. Its users are at a URL of Redis.
    pub async fn peer(mut command: Command, redis: &str) -> Result<Self> {
        let port = free_port()?;
        command.arg(port.to_string()).env("REDIS_URL", redis);
        Self::start(command, port, async |port| {
            judge(Connections::to(port).verify("nobody", "000000").await?)
        })
        .await
    }

    async fn start(
        mut command: Command,
        port: u16,
        ready: impl AsyncFn(u16) -> Result<()>,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let child = spawn(&mut command)?;
        let mut server = Self { command, child, port, took: Duration::ZERO };
        server.until_ready(ready).await?;
        server.took = began.elapsed();
        Ok(server)
    }

    /// Ends one that is called by gRPC without TLS, and starts it again where it was.
    pub async fn restart(&mut self) -> Result<()> {
        self.tell_to_stop();
        // Its clients are in this process, and are to notice meanwhile.
        while self.child.try_wait()?.is_none() {
            sleep(Duration::from_millis(1)).await;
        }
        self.child = spawn(&mut self.command)?;
        self.until_ready(answers).await
    }

    async fn until_ready(&mut self, ready: impl AsyncFn(u16) -> Result<()>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = ready(self.port).await {
            if let Some(status) = self.child.try_wait()? {
                bail!("{:?} ended: {status}", self.command);
            }
            if Instant::now() > end {
                return Err(error.context(format!("{:?} does not answer", self.command)));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// It is asked to, so that one that takes a profile of itself writes it. It may have ended by itself.
    fn tell_to_stop(&mut self) {
        if Command::new("kill").arg(self.child.id().to_string()).status().is_err() {
            let _ = self.child.kill();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tell_to_stop();
        let _ = self.child.wait();
    }
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.spawn().with_context(|| format!("{command:?} does not start"))
}

/// Makes a new dataset.
pub fn initialize(store: Store<'_>) -> Result<()> {
    let output = twinlock(store, "init")?.arg("--new-dataset").output()?;
    if !output.status.success() {
        bail!("twinlock init: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Makes a backup through a running server.
pub fn backup(port: u16, file: &Path) -> Result<()> {
    let mut backup = unconfigured("backup")?;
    backup.arg(file).args(["--address", &format!("http://127.0.0.1:{port}")]);
    let output = backup.output()?;
    if !output.status.success() {
        bail!("twinlock backup: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The product, beside this program.
pub fn binary() -> Result<PathBuf> {
    let binary = std::env::current_exe()?.with_file_name("twinlock");
    if !binary.exists() {
        bail!("{} is missing: run benches/run", binary.display());
    }
    Ok(binary)
}

fn unconfigured(command: &str) -> Result<Command> {
    let mut twinlock = Command::new(binary()?);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TWINLOCK_")) {
        twinlock.env_remove(name);
    }
    twinlock.arg(command);
    Ok(twinlock)
}

fn twinlock(store: Store<'_>, command: &str) -> Result<Command> {
    let mut twinlock = unconfigured(command)?;
    twinlock.env("TWINLOCK_KEYRING__KEYS", people::key_for_the_environment());
    match store {
        Store::Redis(port) => {
            twinlock.args(["--set", "store.kind=redis", "--set"]);
            twinlock.arg(format!("store.redis.urls=redis://127.0.0.1:{port}"));
        }
        Store::Embedded(directory) => {
            twinlock.args(["--set", &format!("store.path={}", directory.display())]);
        }
    }
    Ok(twinlock)
}

/// Whether a server answers a call, with a refusal for that matter.
async fn answers(port: u16) -> Result<()> {
    judge_by(Connection::open(port).await?).await
}

async fn judge_by(mut connection: Connection) -> Result<()> {
    let nobody = VerifyRequest {
        user_id: "nobody".into(),
        credential: Some(people::code_of("000000".into())),
        ..VerifyRequest::default()
    };
    judge(connection.call("/twinlock.v1.TwoStepService/Verify", &nobody).await?)
}

fn judge(of_nobody: Answer) -> Result<()> {
    match of_nobody {
        Answer::Success(_) => Ok(()),
        Answer::Refused(reason) if reason == "NOT_ENROLLED" => Ok(()),
        Answer::Refused(reason) => bail!("it says {reason}"),
    }
}

/// A port that nobody listens on, below those that the system gives to clients: a client that dials one of
/// those before the server is there can reach itself.
fn free_port() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = std::process::id().wrapping_mul(37) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = begin + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + u16::try_from(step % u32::from(COUNT))?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free")
}
