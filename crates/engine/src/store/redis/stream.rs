//! The events of all replicas, in a Redis Stream of a bounded length.
//!
//! It is written in batches, by one task, on connections that no call waits for; and read on one of its
//! own. Replication is asynchronous as for everything here: a failover may lose the latest entries.

use super::address::Address;
use super::connection::Connection;
use super::fault::{self, Fault, Refusal};
use super::keys;
use super::node::{Node, Settings};
use super::topology::Topology;
use crate::deadline::Deadline;
use crate::engine::ClientContext;
use crate::events::{Event, EventId, Occurrence, Page, SharedLog};
use async_trait::async_trait;
use redis::{Cmd, Pipeline, Value, cmd};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use twinlock_core::decision::EventKind;
use twinlock_core::record::Method;
use twinlock_core::{Namespace, Timestamp, UserId};

/// About how many entries are kept; the server removes whole blocks of older ones.
const LENGTH: usize = 100_000;
/// How long the server holds back its answer while there is nothing new.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many entries are read at a time.
const PAGE: usize = 500;
/// How often a batch is sent to servers that did not take it.
const TURNS: usize = 3;

/// The log of events that all replicas share.
pub struct EventLog {
    topology: Arc<Topology>,
    settings: Arc<Settings>,
    /// Where it waits for what is new.
    waiting: Mutex<Option<(Address, Connection)>>,
}

impl EventLog {
    pub(super) fn new(topology: Arc<Topology>, settings: Arc<Settings>) -> Self {
        Self { topology, settings, waiting: Mutex::default() }
    }

    fn node(&self) -> Result<Arc<Node>, String> {
        let node = self.topology.route(keys::EVENTS_BUCKET);
        node.ok_or_else(|| "no node of the Cluster serves the events' bucket".into())
    }

    fn until(&self) -> Deadline {
        Deadline::after(self.settings.connector.timeout)
    }

    /// Sends commands; where they were refused or never left, to whoever serves the bucket by now.
    async fn send(&self, commands: &Pipeline) -> Result<Vec<Value>, String> {
        let mut cause = String::new();
        for _ in 0..TURNS {
            let until = self.until();
            let node = self.node()?;
            match node.send_alone(commands, until).await {
                Ok(answers) => match answers.iter().find_map(fault::error_of).map(fault::refusal) {
                    None => return Ok(answers),
                    Some(refusal) => cause = self.follow_refusal(&node, refusal).await?,
                },
                Err(Fault::NotSent(said)) => {
                    cause = said;
                    // Where that fails, too, the next turn says so.
                    let _ = self.topology.refresh(self.until()).await;
                }
                Err(fault) => return Err(fault.into_cause()),
            }
        }
        Err(cause)
    }

    /// Looks for the right server; the error is a refusal that no server mends.
    async fn follow_refusal(&self, node: &Node, refusal: Refusal) -> Result<String, String> {
        match refusal {
            Refusal::Moved(target) => {
                if let Some(address) = node.address.redirected(&target) {
                    self.topology.moved(keys::EVENTS_BUCKET, address);
                }
                Ok("the Cluster is being laid out anew".into())
            }
            Refusal::Demoted(said) | Refusal::Later(said) => {
                let _ = self.topology.refresh(self.until()).await;
                Ok(said)
            }
            Refusal::Ask(said) | Refusal::Final(said) => Err(said),
            Refusal::NoScript => Err("the server knows no script".into()),
        }
    }

    async fn wait(&self, command: &Cmd) -> Result<Value, String> {
        let node = self.node()?;
        let mut waiting = self.waiting.lock().await;
        let connection = match waiting.take() {
            Some((address, connection)) if address == node.address && !connection.is_closed() => {
                connection
            }
            _ => self.settings.connector.connect(&node.address, self.until()).await?,
        };
        let until = Deadline::after(PATIENCE + self.settings.connector.timeout);
        let answer = connection.send(command, until).await.map_err(Fault::into_cause)?;
        if let Some(refusal) = fault::error_of(&answer).map(fault::refusal) {
            return Err(self.follow_refusal(&node, refusal).await.unwrap_or_else(|said| said));
        }
        // Only one that answered is kept.
        *waiting = Some((node.address.clone(), connection));
        Ok(answer)
    }
}

#[async_trait]
impl SharedLog for EventLog {
    async fn append(&self, what: &[Occurrence]) -> Vec<Option<EventId>> {
        let mut writes = Pipeline::new();
        for what in what {
            writes.add_command(addition(what));
        }
        match self.send(&writes).await {
            Ok(answers) => answers.iter().map(id).collect(),
            Err(cause) => {
                tracing::debug!("events were not added to the shared log: {cause}");
                vec![None; what.len()]
            }
        }
    }

    async fn after(&self, id: EventId, limit: usize) -> Result<Page, String> {
        let mut range = cmd("XRANGE");
        range.arg(keys::events()).arg(format!("({id}")).arg("+").arg("COUNT").arg(limit);
        let mut reads = Pipeline::new();
        reads.add_command(range);
        let answers = self.send(&reads).await?;
        Ok(page(answers.first()))
    }

    async fn follow(&self, id: EventId) -> Result<Page, String> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(PAGE).arg("BLOCK").arg(PATIENCE.as_millis() as u64);
        read.arg("STREAMS").arg(keys::events()).arg(id.to_string());
        let read = self.wait(&read).await;
        if read.is_err() {
            let _ = self.topology.refresh(self.until()).await;
        }
        // Streams, each a pair of its key and its entries; here one at the most.
        let Value::Array(streams) = read? else { return Ok(Page::default()) };
        let stream = streams.first().and_then(items);
        Ok(page(stream.and_then(|pair| pair.get(1))))
    }

    async fn ends(&self) -> Result<Option<(EventId, EventId)>, String> {
        let (mut oldest, mut newest) = (cmd("XRANGE"), cmd("XREVRANGE"));
        oldest.arg(keys::events()).arg("-").arg("+").arg("COUNT").arg(1);
        newest.arg(keys::events()).arg("+").arg("-").arg("COUNT").arg(1);
        let mut reads = Pipeline::new();
        reads.add_command(oldest);
        reads.add_command(newest);
        let answers = self.send(&reads).await?;
        let mut ids = answers.iter().map(|answer| page(Some(answer)).last);
        Ok(ids.next().flatten().zip(ids.next().flatten()))
    }
}

/// The command that adds an event. What is empty is left out.
fn addition(what: &Occurrence) -> Cmd {
    // At most 22 arguments, and in most events no more than this many bytes.
    let mut add = Cmd::with_capacity(23, 512);
    add.arg("XADD").arg(keys::events()).arg("MAXLEN").arg("~").arg(LENGTH).arg("*");
    add.arg("at").arg(what.at.as_millis()).arg("type").arg(what.kind.as_str());
    add.arg("namespace").arg(what.namespace.as_str()).arg("user").arg(what.user.as_str());
    for (name, value) in [
        ("actor", what.actor.as_ref().map(UserId::as_str).unwrap_or_default()),
        ("caller", &what.caller),
        ("method", what.method.map(method_name).unwrap_or_default()),
        ("reason", what.reason.as_deref().unwrap_or_default()),
        ("ip_address", &what.client.ip_address),
        ("user_agent", &what.client.user_agent),
    ] {
        if !value.is_empty() {
            add.arg(name).arg(value);
        }
    }
    add
}

/// Reads entries: pairs of an id and a list of names and values.
fn page(answer: Option<&Value>) -> Page {
    let mut page = Page::default();
    for entry in answer.and_then(items).unwrap_or_default() {
        let Some([name, fields]) = items(entry) else { continue };
        let Some(id) = id(name) else { continue };
        page.last = Some(id);
        page.events.extend(items(fields).and_then(occurrence).map(|what| Event { id, what }));
    }
    page
}

/// Reads an event; `None` where it is one of a later release.
fn occurrence(fields: &[Value]) -> Option<Occurrence> {
    let pairs = fields.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?)));
    let fields: HashMap<&str, &str> = pairs.collect();
    let field = |name| fields.get(name).copied().unwrap_or_default();
    let optional = |name| Some(field(name)).filter(|value| !value.is_empty());
    Some(Occurrence {
        at: Timestamp::from_millis(field("at").parse().ok()?),
        kind: EventKind::parse(field("type"))?,
        namespace: Namespace::parse(field("namespace")).ok()?,
        user: UserId::parse(field("user")).ok()?,
        actor: optional("actor").map(UserId::parse).transpose().ok()?,
        caller: field("caller").into(),
        method: match optional("method") {
            Some(name) => Some(method(name)?),
            None => None,
        },
        reason: optional("reason").map(|reason| reason.to_owned().into()),
        client: ClientContext {
            ip_address: field("ip_address").to_owned(),
            user_agent: field("user_agent").to_owned(),
        },
    })
}

fn method_name(method: Method) -> &'static str {
    match method {
        Method::Totp => "totp",
        Method::RecoveryKey => "recovery_key",
        Method::Password => "password",
        Method::Asserted => "asserted",
    }
}

fn method(name: &str) -> Option<Method> {
    [Method::Totp, Method::RecoveryKey, Method::Password, Method::Asserted]
        .into_iter()
        .find(|method| method_name(*method) == name)
}

fn id(value: &Value) -> Option<EventId> {
    EventId::parse(text(value)?).ok()
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn what_is_written_is_read_again_and_what_is_not_known_is_passed_over() {
        let what = Occurrence {
            at: Timestamp::from_millis(7),
            kind: EventKind::UnenrolledByAdmin,
            namespace: Namespace::default(),
            user: UserId::parse("alice").expect("a user"),
            actor: Some(UserId::parse("root").expect("a user")),
            caller: "shop".into(),
            method: Some(Method::RecoveryKey),
            reason: Some("because".into()),
            client: ClientContext { ip_address: "192.0.2.1".into(), user_agent: String::new() },
        };
        let arguments: Vec<String> = addition(&what)
            .args_iter()
            .map(|argument| match argument {
                redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                _ => String::new(),
            })
            .collect();
        let fields: Vec<Value> = arguments[6..].iter().map(|text| bulk(text)).collect();
        let unknown = vec![bulk("at"), bulk("7"), bulk("type"), bulk("OF_A_LATER_RELEASE")];
        let entry = |id: &str, fields| Value::Array(vec![bulk(id), Value::Array(fields)]);
        let answer = Value::Array(vec![entry("5-1", fields), entry("6-0", unknown)]);

        let page = page(Some(&answer));
        assert_eq!(page.last, Some(EventId { millis: 6, sequence: 0 }));
        assert_eq!(page.events, [Event { id: EventId { millis: 5, sequence: 1 }, what }]);
    }
}
