//! The least servers: they read and write Twinlock's own messages with the same libraries, ask as much of
//! the same store, and decide nothing. What Twinlock costs more than they do is what it does.

use crate::people::{People, name};
use anyhow::{Context as _, Result, bail};
use redb::{Database, ReadableTable as _, TableDefinition};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, cmd};
use std::convert::Infallible;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, StdError};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;
use twinlock_proto::v1::{Method, VerifyRequest, VerifyResponse};

/// One thread that does everything.
pub const CURRENT_THREAD: &str = "ct";
/// Two threads that take work from each other.
pub const TWO_THREADS: &str = "2t";

/// Answers at once.
pub const NOTHING: &str = "nothing";
/// One script of Redis that reads and writes a hash.
pub const ONE_SCRIPT: &str = "1 EVALSHA";
/// Two of them, one after the other.
pub const TWO_SCRIPTS: &str = "2 EVALSHA";
/// A read and a write of redb, synced, all that wait in one transaction.
pub const REDB: &str = "redb";

/// Reads three fields and writes three, one of them as large as a small record.
const SCRIPT: &str = "\
local found = redis.call('HMGET', KEYS[1], 'value', 'count', 'step')
local count = (tonumber(found[2]) or 0) + 1
redis.call('HSET', KEYS[1], 'value', ARGV[1], 'count', count, 'step', ARGV[2])
return count";
const VALUE: [u8; 120] = [b'x'; 120];
/// Where the users of redb are.
const FILE: &str = "floor.redb";
const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("records");
/// The most writes in one transaction.
const GROUP: usize = 256;

/// Serves until it is killed. `place` is Redis's URL, or the directory of the file.
pub fn serve(kind: &str, runtime: &str, port: u16, place: &str) -> Result<()> {
    let runtime = match runtime {
        CURRENT_THREAD => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        TWO_THREADS => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?
        }
        other => bail!("no runtime {other}"),
    };
    runtime.block_on(async {
        let store = match kind {
            NOTHING => Store::Nothing,
            ONE_SCRIPT => Store::redis(place, 1).await?,
            TWO_SCRIPTS => Store::redis(place, 2).await?,
            REDB => Store::redb(Path::new(place))?,
            other => bail!("no floor {other}"),
        };
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        Server::builder().add_service(Floor(store)).serve(address).await.context("the floor")
    })
}

#[derive(Clone)]
enum Store {
    Nothing,
    Redis { connection: MultiplexedConnection, script: String, scripts: u32 },
    Redb(mpsc::Sender<Write>),
}

struct Write {
    user: String,
    done: oneshot::Sender<u64>,
}

impl Store {
    async fn redis(url: &str, scripts: u32) -> Result<Self> {
        let client = redis::Client::open(url)?;
        // A server that stalls is to show in the times, and not as an error.
        let patient = AsyncConnectionConfig::new().set_response_timeout(None);
        let mut connection = client.get_multiplexed_async_connection_with_config(&patient).await?;
        let script = cmd("SCRIPT").arg("LOAD").arg(SCRIPT).query_async(&mut connection).await?;
        Ok(Self::Redis { connection, script, scripts })
    }

    fn redb(directory: &Path) -> Result<Self> {
        let database = Database::create(directory.join(FILE))?;
        let (sender, writes) = mpsc::channel();
        std::thread::spawn(move || {
            let mut group = Vec::new();
            while let Ok(first) = writes.recv() {
                group.push(first);
                group.extend(writes.try_iter().take(GROUP - 1));
                let counts = commit(&database, &group).expect("a commit");
                for (write, count) in group.drain(..).zip(counts) {
                    // A caller who went away is told nothing.
                    let _ = write.done.send(count);
                }
            }
        });
        Ok(Self::Redb(sender))
    }

    async fn write(&mut self, user: String) -> Result<(), Status> {
        let failed = |error: &dyn std::fmt::Display| Status::unavailable(error.to_string());
        match self {
            Self::Nothing => {}
            Self::Redis { connection, script, scripts } => {
                for _ in 0..*scripts {
                    let mut run = cmd("EVALSHA");
                    run.arg(script.as_str()).arg(1).arg(&user).arg(&VALUE).arg(58_000_000);
                    let _: u64 = run.query_async(connection).await.map_err(|it| failed(&it))?;
                }
            }
            Self::Redb(writes) => {
                let (done, answer) = oneshot::channel();
                writes.send(Write { user, done }).map_err(|it| failed(&it))?;
                answer.await.map_err(|it| failed(&it))?;
            }
        }
        Ok(())
    }
}

/// Writes a record of each user into a file that no floor serves yet.
pub fn fill(directory: &Path, people: &People) -> Result<()> {
    let database = Database::create(directory.join(FILE))?;
    let transaction = database.begin_write()?;
    let mut table = transaction.open_table(TABLE)?;
    for user in 0..people.count() {
        table.insert(name(user).as_str(), VALUE.as_slice())?;
    }
    drop(table);
    transaction.commit()?;
    Ok(())
}

fn commit(database: &Database, group: &[Write]) -> Result<Vec<u64>> {
    let transaction = database.begin_write()?;
    let mut counts = Vec::with_capacity(group.len());
    {
        let mut table = transaction.open_table(TABLE)?;
        for Write { user, .. } in group {
            let mut value = VALUE;
            let before = table.get(user.as_str())?.map_or(0, |it| {
                let count = it.value().first_chunk().copied().unwrap_or_default();
                u64::from_le_bytes(count)
            });
            value[..8].copy_from_slice(&(before + 1).to_le_bytes());
            table.insert(user.as_str(), value.as_slice())?;
            counts.push(before + 1);
        }
    }
    transaction.commit()?;
    Ok(counts)
}

/// What tonic generates for a service, with one method.
#[derive(Clone)]
struct Floor(Store);

impl NamedService for Floor {
    const NAME: &'static str = "twinlock.v1.TwoStepService";
}

type Answering<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<B> Service<http::Request<B>> for Floor
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answering<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<VerifyResponse, VerifyRequest>::default());
            Ok(grpc.unary(method, request).await)
        })
    }
}

impl UnaryService<VerifyRequest> for Floor {
    type Response = VerifyResponse;
    type Future = Answering<Response<VerifyResponse>, Status>;

    fn call(&mut self, request: Request<VerifyRequest>) -> Self::Future {
        let mut store = self.0.clone();
        Box::pin(async move {
            store.write(request.into_inner().user_id).await?;
            Ok(Response::new(VerifyResponse {
                method: Method::Totp.into(),
                verify_time: Some(prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
                ..VerifyResponse::default()
            }))
        })
    }
}
