//! Three servers over one Redis, two of them with faults in between.

use fastrand::Rng;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use twinlock_tests::fault_proxy::{Direction, FaultProxy, Flow, Kind, Which};
use twinlock_tests::redis::{Program, Server as Redis};
use twinlock_tests::{Client, Options, Server};

/// What a call may take.
pub const DEADLINE: Duration = Duration::from_millis(700);
/// The first wait, after two failures.
pub const INITIAL: Duration = Duration::from_millis(50);

/// Three servers over one Redis.
pub struct Stage {
    /// Those with a proxy between them and Redis.
    pub faulted: [Server; 2],
    /// The one without.
    pub direct: Server,
    proxies: [FaultProxy; 2],
    clients: Vec<(Option<usize>, Client)>,
    is_faulted: AtomicBool,
    /// Stopped last.
    _redis: Redis,
}

impl Stage {
    pub async fn start() -> Self {
        let redis = Redis::start(Program::Redis, &[]);
        let options = Options::default()
            .set(&format!("server.deadline={}ms", DEADLINE.as_millis()))
            .set("store.redis.timeout=250ms")
            .set(&format!("backoff.initial={}ms", INITIAL.as_millis()))
            .set("telemetry.log=error");
        let direct = Server::start(options.clone().over_redis(&redis.url()));
        let proxies = [FaultProxy::start(redis.port).await, FaultProxy::start(redis.port).await];
        let faulted = [0, 1].map(|n: usize| {
            let proxy: &FaultProxy = &proxies[n];
            direct.beside(options.clone().over_redis(&proxy.url()))
        });
        let mut clients = Vec::new();
        for _ in 0..2 {
            for (n, server) in faulted.iter().enumerate() {
                clients.push((Some(n), server.client().await));
            }
        }
        clients.push((None, direct.client().await));
        Self { faulted, direct, proxies, clients, is_faulted: false.into(), _redis: redis }
    }

    /// A connection to any of the servers, and which it is of those that may be faulted.
    pub fn client(&self, rng: &mut Rng) -> (Option<usize>, Client) {
        rng.choice(&self.clients).expect("a client").clone()
    }

    pub fn proxy(&self, n: usize) -> &FaultProxy {
        &self.proxies[n]
    }

    /// Makes the network slow, so that many calls are on their way at any moment.
    pub fn slow_down(&self, rng: &mut Rng) {
        for proxy in &self.proxies {
            let pause = Duration::from_millis(rng.u64(10..60));
            proxy.inflict(Which::All, Direction::Answers, Flow::Delay(pause));
        }
    }

    pub fn inflict(&self, kind: Kind, on: &[usize], rng: &mut Rng) {
        self.is_faulted.store(true, Ordering::SeqCst);
        on.iter().for_each(|n| kind.inflict(&self.proxies[*n], rng));
    }

    pub fn heal(&self) {
        self.proxies.iter().for_each(FaultProxy::heal);
        self.is_faulted.store(false, Ordering::SeqCst);
    }

    pub fn is_faulted(&self) -> bool {
        self.is_faulted.load(Ordering::SeqCst)
    }
}
