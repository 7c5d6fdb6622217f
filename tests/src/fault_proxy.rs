//! A TCP proxy between Twinlock and Redis, whose faults are switched while it runs.
//!
//! It keeps what TCP promises: bytes arrive in order or not at all. A stream that has lost bytes stays
//! lost, also after the fault, for no network delivers the rest of it.

mod connection;
mod kind;

pub use kind::{Kind, seeded};

use crate::redis::free_port;
use connection::{Connection, carry};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A proxy on a port of loopback. It ends, with its connections, when it is dropped.
pub struct FaultProxy {
    /// Its port.
    pub port: u16,
    shared: Arc<Shared>,
    arrival: watch::Sender<Arrival>,
    accepting: JoinHandle<()>,
}

/// What becomes of those who connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// They are connected to the server.
    Passed,
    /// They are accepted, and never answered.
    Ignored,
    /// They are accepted, and reset at once.
    Reset,
    /// Nobody listens.
    Refused,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Requests,
    /// From the server.
    Answers,
}

/// Which connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that are there.
    Present,
    /// Those that are yet to come.
    Later,
    /// All of them.
    All,
}

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They pass.
    Pass,
    /// They vanish.
    Vanish,
    /// They pass later.
    Delay(Duration),
    /// They pass one by one, this far apart.
    Drip(Duration),
    /// They are kept and pass when the fault is over, whoever is still there to see them go.
    Hold,
    /// They are not even read.
    Stall,
    /// So many pass, and then the connection ends.
    Cut {
        /// How many.
        after: usize,
        /// How it ends.
        end: End,
    },
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As if the other side had closed it.
    Close,
    /// As if the other side had crashed.
    Reset,
}

struct Shared {
    server: SocketAddr,
    table: Mutex<Table>,
}

struct Table {
    /// What becomes of the bytes of connections that are yet to come, by direction.
    later: [Flow; 2],
    connections: Vec<Connection>,
    /// How many there ever were.
    count: usize,
}

impl FaultProxy {
    /// Starts one in front of a server's port on loopback, without faults.
    pub async fn start(server: u16) -> Self {
        let table = Table { later: [Flow::Pass; 2], connections: Vec::new(), count: 0 };
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, server));
        let shared = Arc::new(Shared { server, table: Mutex::new(table) });
        let (port, listener) = loop {
            let port = free_port();
            // Another process may have been faster.
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                break (port, listener);
            }
        };
        let (arrival, arrivals) = watch::channel(Arrival::Passed);
        let accepting = tokio::spawn(accept(listener, port, shared.clone(), arrivals));
        Self { port, shared, arrival, accepting }
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How many connections there ever were.
    pub fn connections(&self) -> usize {
        self.shared.table().count
    }

    /// Says what becomes of those who connect from now on.
    pub fn receive(&self, arrival: Arrival) {
        self.arrival.send_replace(arrival);
    }

    /// Says what becomes of bytes from now on.
    pub fn inflict(&self, which: Which, direction: Direction, flow: Flow) {
        let mut table = self.shared.table();
        if which != Which::Later {
            table.connections.retain(Connection::is_open);
            table.connections.iter().for_each(|connection| connection.set(direction, flow));
        }
        if which != Which::Present {
            table.later[direction as usize] = flow;
        }
    }

    /// Ends all faults. What is held passes now; what was lost stays lost.
    pub fn heal(&self) {
        self.receive(Arrival::Passed);
        for direction in [Direction::Requests, Direction::Answers] {
            self.inflict(Which::All, direction, Flow::Pass);
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a connection, with the faults of those that come now.
    fn begin(&self) -> connection::Flows {
        let mut table = self.table();
        let (connection, flows) = Connection::new(table.later);
        table.connections.push(connection);
        table.count += 1;
        flows
    }
}

async fn listen(port: u16) -> TcpListener {
    let address = (Ipv4Addr::LOCALHOST, port);
    TcpListener::bind(address).await.expect("the port is free")
}

/// Accepts connections until the proxy is dropped; they end with this.
async fn accept(
    listener: TcpListener,
    port: u16,
    shared: Arc<Shared>,
    mut arrivals: watch::Receiver<Arrival>,
) {
    let mut listener = Some(listener);
    let mut carried = JoinSet::new();
    let mut ignored = Vec::new();
    loop {
        let arrival = *arrivals.borrow_and_update();
        if arrival == Arrival::Refused {
            listener = None;
        } else if listener.is_none() {
            listener = Some(listen(port).await);
        }
        let arrived = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        let client = tokio::select! {
            changed = arrivals.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            arrived = arrived => match arrived {
                Ok((client, _)) => client,
                Err(_) => continue,
            },
        };
        while carried.try_join_next().is_some() {}
        match arrival {
            Arrival::Passed => {
                let flows = shared.begin();
                let server = shared.server;
                carried.spawn(async move {
                    match TcpStream::connect(server).await {
                        Ok(server) => carry(client, server, flows).await,
                        Err(_) => drop(client),
                    }
                });
            }
            Arrival::Ignored => ignored.push(client),
            // Where this fails it is closed, which is no less of an end.
            Arrival::Reset | Arrival::Refused => drop(client.set_zero_linger()),
        }
    }
}
