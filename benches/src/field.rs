//! Twinlock and the floors, or Twinlock and its peers, all up at the same time.

use crate::certificate::Certificate;
use crate::client::Connection;
use crate::floor::{CURRENT_THREAD, NOTHING, ONE_SCRIPT, REDB, TWO_SCRIPTS, TWO_THREADS};
use crate::json::Connections;
use crate::load::{Called, Pace, Slice, load};
use crate::peers::{self, Peer};
use crate::people::{self, People};
use crate::process::{self, Server, Store};
use crate::work::{Edge, Work};
use anyhow::{Context as _, Result};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Twinlock over Redis, in tables.
pub const OVER_REDIS: &str = "Twinlock, Redis";
/// The same, called as JSON over HTTP/1.1, as peers are.
pub const OVER_REDIS_AS_JSON: &str = "Twinlock, Redis, as JSON";
/// The same, called over TLS.
pub const OVER_REDIS_WITH_TLS: &str = "Twinlock, Redis, TLS";
/// Twinlock over its file.
pub const EMBEDDED: &str = "Twinlock, embedded";
/// The kinds of floors.
pub const FLOORS: [&str; 4] = [NOTHING, ONE_SCRIPT, TWO_SCRIPTS, REDB];
/// The runtimes that each of them is there on.
pub const RUNTIMES: [&str; 2] = [CURRENT_THREAD, TWO_THREADS];

/// What lets every call be what it is meant to be: elevations that last, and users who may be refused some
/// times before they are blocked.
pub const SETTINGS: &[&str] = &["elevation.lifetime=24h", "backoff.tolerated_failures=10"];

/// All servers, and the Redis that some of them share.
pub struct Field {
    redis: Server,
    contenders: Vec<Contender>,
    _directory: TempDir,
}

struct Contender {
    name: String,
    server: Server,
    uses_redis: bool,
    edges: Vec<Edge>,
    people: Arc<People>,
}

/// How many call, and how.
#[derive(Clone, Copy, Debug)]
pub struct Callers {
    /// Connections.
    pub connections: usize,
    /// Callers on each.
    pub each: usize,
    /// How calls follow each other.
    pub pace: Pace,
}

impl Callers {
    /// As many as load a server well.
    pub const MANY: Self = Self { connections: 4, each: 16, pace: Pace::Closed };
    /// One, who waits for every answer.
    pub const ONE: Self = Self { connections: 1, each: 1, pace: Pace::Closed };
}

impl Field {
    /// Starts all servers; so many users can verify, and of so many more is kept.
    pub async fn enter(fresh: usize, active: usize) -> Result<Self> {
        let directory = tempfile::tempdir_in(std::env::current_dir()?)?;
        let redis = Server::redis().await?;
        let data = directory.path().join("twinlock");
        let mut contenders = Vec::new();
        for (name, store) in
            [(OVER_REDIS, Store::Redis(redis.port)), (EMBEDDED, Store::Embedded(&data))]
        {
            let people = Arc::new(People::new(fresh, active));
            enroll(store, &people).await?;
            let server = Server::twinlock(store, SETTINGS).await?;
            let uses_redis = matches!(store, Store::Redis(_));
            contenders.push(Contender::new(name.into(), server, uses_redis, people).await?);
        }
        let anybody = Arc::new(People::new(fresh, active));
        for kind in FLOORS {
            for runtime in RUNTIMES {
                let place = directory.path().join(format!("{kind} {runtime}"));
                let server = Server::floor(kind, runtime, redis.port, &place).await?;
                let uses_redis = [ONE_SCRIPT, TWO_SCRIPTS].contains(&kind);
                let name = floor(kind, runtime);
                contenders.push(Contender::new(name, server, uses_redis, anybody.clone()).await?);
            }
        }
        Ok(Self { redis, contenders, _directory: directory })
    }

    /// Starts Twinlock over Redis, and peers that keep their users there, too; so many users can verify,
    /// and so many of each peer's.
    pub async fn with_peers(users: usize, peers: &[Peer], users_of_peers: usize) -> Result<Self> {
        let directory = tempfile::tempdir_in(std::env::current_dir()?)?;
        let redis = Server::redis().await?;
        let store = Store::Redis(redis.port);
        let people = Arc::new(People::new(users, 0));
        enroll(store, &people).await?;
        let server = Server::twinlock(store, SETTINGS).await?;
        let grpc = Contender::new(OVER_REDIS.into(), server, true, people.clone()).await?;
        let server = Server::twinlock(store, SETTINGS).await?;
        let json = Contender::as_json(OVER_REDIS_AS_JSON, server, people);
        let mut contenders = vec![grpc, json];
        // Each has a database of its own in the same Redis; Twinlock has the first.
        for (database, peer) in (1..).zip(peers) {
            let url = format!("redis://127.0.0.1:{}/{database}", redis.port);
            let people = Arc::new(People::new(users_of_peers, 0));
            peers::enroll(&url, &people).await?;
            let server = Server::peer((peer.command)(), &url).await?;
            contenders.push(Contender::as_json(peer.name, server, people));
        }
        Ok(Self { redis, contenders, _directory: directory })
    }

    /// Starts Twinlock for every way in which it is called.
    pub async fn in_every_way(users: usize) -> Result<Self> {
        let directory = tempfile::tempdir_in(std::env::current_dir()?)?;
        let redis = Server::redis().await?;
        let data = directory.path().join("twinlock");
        let (store, file) = (Store::Redis(redis.port), Store::Embedded(&data));
        let people = [users, users].map(|users| Arc::new(People::new(users, users)));
        enroll(store, &people[0]).await?;
        enroll(file, &people[1]).await?;
        let server = Server::twinlock(file, SETTINGS).await?;
        let [people, of_file] = people;
        let mut contenders = vec![Contender::new(EMBEDDED.into(), server, false, of_file).await?];
        let server = Server::twinlock(store, SETTINGS).await?;
        contenders.push(Contender::new(OVER_REDIS.into(), server, true, people.clone()).await?);
        let server = Server::twinlock(store, SETTINGS).await?;
        contenders.push(Contender::as_json(OVER_REDIS_AS_JSON, server, people.clone()));
        let certificate = Certificate::make(directory.path())?;
        let settings: Vec<&str> = SETTINGS
            .iter()
            .copied()
            .chain(certificate.settings.iter().map(String::as_str))
            .collect();
        let tls = &certificate.connector;
        let server = Server::twinlock_with_tls(store, &settings, tls).await?;
        let mut edges = Vec::new();
        for _ in 0..Callers::MANY.connections {
            edges.push(Edge::Grpc(Connection::open_with_tls(server.port, tls).await?));
        }
        let name = OVER_REDIS_WITH_TLS.into();
        contenders.push(Contender { name, server, uses_redis: true, edges, people });
        Ok(Self { redis, contenders, _directory: directory })
    }

    /// Starts all servers anew, of which none has TLS or speaks JSON.
    pub async fn restart(&mut self) -> Result<()> {
        for contender in &mut self.contenders {
            contender.edges.clear();
            contender.server.restart().await?;
            contender.edges = connect(&contender.server).await?;
        }
        Ok(())
    }

    /// Waits until enough of its users have a code that was not used yet.
    pub async fn rested(&self, name: &str) -> Result<()> {
        self.contender(name)?.people.rested().await;
        Ok(())
    }

    /// Loads one of them for a while.
    pub async fn load(
        &self,
        name: &str,
        work: Work,
        callers: Callers,
        length: Duration,
    ) -> Result<Slice> {
        let contender = self.contender(name)?;
        let called = Called {
            edges: &contender.edges[..callers.connections],
            callers: callers.each,
            server: contender.server.pid(),
            redis: contender.uses_redis.then(|| self.redis.pid()),
        };
        let slice = load(&called, work, &contender.people, callers.pace, length).await;
        slice.with_context(|| format!("{name}: {work:?}"))
    }

    /// Where one of them listens.
    pub fn port(&self, name: &str) -> Result<u16> {
        self.contender(name).map(|it| it.server.port)
    }

    fn contender(&self, name: &str) -> Result<&Contender> {
        let contender = self.contenders.iter().find(|it| it.name == name);
        contender.with_context(|| format!("no contender {name}"))
    }
}

impl Contender {
    async fn new(
        name: String,
        server: Server,
        uses_redis: bool,
        people: Arc<People>,
    ) -> Result<Self> {
        let edges = connect(&server).await?;
        Ok(Self { name, server, uses_redis, edges, people })
    }

    fn as_json(name: &str, server: Server, people: Arc<People>) -> Self {
        let edge = Edge::Json(Box::new(Connections::to(server.port)));
        let edges = vec![edge; Callers::MANY.connections];
        Self { name: name.into(), server, uses_redis: true, edges, people }
    }
}

/// The name of a floor in tables.
pub fn floor(kind: &str, runtime: &str) -> String {
    format!("floor: {kind}, {runtime}")
}

/// As many connections as load a server well.
pub async fn connect(server: &Server) -> Result<Vec<Edge>> {
    let mut edges = Vec::new();
    for _ in 0..Callers::MANY.connections {
        edges.push(Edge::Grpc(Connection::open(server.port).await?));
    }
    Ok(edges)
}

/// Makes a dataset of users.
pub async fn enroll(store: Store<'_>, people: &People) -> Result<()> {
    process::initialize(store)?;
    let mut target = match store {
        Store::Redis(port) => people::redis(port).await?,
        Store::Embedded(directory) => people::embedded(directory)?,
    };
    people.enroll(target.as_mut()).await
}
