//! The events of all replicas, in a Redis Stream of a bounded length.
//!
//! It is written in batches, by one task, on connections that no call waits for; and read on one of its
//! own. Replication is asynchronous as for everything here: a failover may lose the latest entries.
//!
//! Events that happen at the same time share an entry, as far as one holds them: Redis takes longer over an entry
//! than over what is in it. The id of an event is that of its entry and its place there, in one number.

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
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use twinlock_core::decision::EventKind;
use twinlock_core::record::Method;
use twinlock_core::{Namespace, Timestamp, UserId};

/// About how many entries are kept; the server removes whole blocks of older ones.
const LENGTH: usize = 20_000;
/// The most events in an entry. Their ids depend on it, so it cannot change.
const PLACES: u64 = 8;
/// How long the server holds back its answer while there is nothing new.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many entries are read at a time.
const PAGE: usize = 500;
/// How often a batch is sent to servers that did not take it.
const TURNS: usize = 3;

/// The only name in an entry; its value is a list of events.
const NAME: &str = "events";

/// When, what, to whom in which namespace, who did it, who called, how, why, and where from: address and program. An
/// object would have all names in every event; events that have more get another name for the whole entry.
type Told<'a> = (
    u64,
    Cow<'a, str>,
    Cow<'a, str>,
    Cow<'a, str>,
    Option<Cow<'a, str>>,
    Cow<'a, str>,
    Option<Cow<'a, str>>,
    Option<Cow<'a, str>>,
    Cow<'a, str>,
    Cow<'a, str>,
);

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
        let shares = || what.chunks(PLACES as usize);
        for (index, what) in shares().enumerate() {
            writes.add_command(addition(what, index == 0));
        }
        match self.send(&writes).await {
            Ok(answers) => {
                let ids = answers.iter().zip(shares()).flat_map(|(answer, what)| {
                    let entry = id(answer);
                    (0..).zip(what).map(move |(place, _)| Some(id_at(entry?, place)))
                });
                ids.collect()
            }
            Err(cause) => {
                tracing::debug!("events were not added to the shared log: {cause}");
                vec![None; what.len()]
            }
        }
    }

    async fn after(&self, id: EventId, limit: usize) -> Result<Page, String> {
        let (entry, place) = entry_of(id);
        // What shares an entry with it may come after it.
        let bound = if place + 1 < PLACES { "" } else { "(" };
        let mut range = cmd("XRANGE");
        range.arg(keys::events()).arg(format!("{bound}{entry}")).arg("+").arg("COUNT").arg(limit);
        let mut reads = Pipeline::new();
        reads.add_command(range);
        let answers = self.send(&reads).await?;
        let mut page = page(answers.first());
        page.events.retain(|event| event.id > id);
        Ok(page)
    }

    async fn follow(&self, id: EventId) -> Result<Page, String> {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(PAGE).arg("BLOCK").arg(PATIENCE.as_millis() as u64);
        read.arg("STREAMS").arg(keys::events()).arg(entry_of(id).0.to_string());
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
        let entry = |answer| entries(answer).next().map(|(entry, _)| entry);
        let (oldest, newest) = (entry(answers.first()), entry(answers.get(1)));
        Ok(oldest.zip(newest).map(|(oldest, newest)| (id_at(oldest, 0), last_of(newest))))
    }
}

/// The command that adds an entry; the first of a batch makes room for it.
fn addition(what: &[Occurrence], makes_room: bool) -> Cmd {
    let events: Vec<_> = what.iter().map(told).collect();
    let events = serde_json::to_vec(&events).expect("texts and numbers are JSON");
    let mut add = Cmd::with_capacity(8, 64 + events.len());
    add.arg("XADD").arg(keys::events());
    if makes_room {
        add.arg("MAXLEN").arg("~").arg(LENGTH);
    }
    add.arg("*").arg(NAME).arg(events);
    add
}

fn told(what: &Occurrence) -> Told<'_> {
    (
        what.at.as_millis(),
        what.kind.as_str().into(),
        what.namespace.as_str().into(),
        what.user.as_str().into(),
        what.actor.as_ref().map(|actor| actor.as_str().into()),
        (&*what.caller).into(),
        what.method.map(|method| method_name(method).into()),
        what.reason.as_deref().map(Cow::Borrowed),
        what.client.ip_address.as_str().into(),
        what.client.user_agent.as_str().into(),
    )
}

/// The id of an event, by its entry's and its place there.
fn id_at(entry: EventId, place: u64) -> EventId {
    // Redis numbers the entries of one millisecond from 0, so this is never near its end.
    let sequence = entry.sequence.saturating_mul(PLACES).saturating_add(place);
    EventId { sequence, ..entry }
}

/// The greatest id that an event of an entry could have.
fn last_of(entry: EventId) -> EventId {
    id_at(entry, PLACES - 1)
}

/// The entry of an event, and its place there.
fn entry_of(id: EventId) -> (EventId, u64) {
    (EventId { sequence: id.sequence / PLACES, ..id }, id.sequence % PLACES)
}

/// Reads entries: pairs of an id and a list of names and values.
fn entries(answer: Option<&Value>) -> impl Iterator<Item = (EventId, &[Value])> {
    let entries = answer.and_then(items).unwrap_or_default().iter();
    entries.filter_map(|entry| match items(entry)? {
        [name, fields] => Some((id(name)?, items(fields)?)),
        _ => None,
    })
}

fn page(answer: Option<&Value>) -> Page {
    let mut page = Page::default();
    for (entry, fields) in entries(answer) {
        page.last = Some(last_of(entry));
        let events = events(fields).unwrap_or_default();
        page.events.extend((0..).zip(events).filter_map(|(place, told)| {
            Some(Event { id: id_at(entry, place), what: occurrence(told)? })
        }));
    }
    page
}

/// Reads the events of an entry; `None` where it is one of a later release.
fn events(fields: &[Value]) -> Option<Vec<Told<'static>>> {
    let [name, events] = fields else { return None };
    serde_json::from_str(text(events).filter(|_| text(name) == Some(NAME))?).ok()
}

/// Reads an event; `None` where it is one of a later release.
fn occurrence(told: Told<'_>) -> Option<Occurrence> {
    let (at, kind, namespace, user, actor, caller, method, reason, ip_address, user_agent) = told;
    Some(Occurrence {
        at: Timestamp::from_millis(at),
        kind: EventKind::parse(&kind)?,
        namespace: Namespace::parse(&namespace).ok()?,
        user: UserId::parse(&user).ok()?,
        actor: actor.map(|actor| UserId::parse(&actor)).transpose().ok()?,
        caller: caller.into(),
        method: match method {
            Some(name) => Some(self::method(&name)?),
            None => None,
        },
        reason: reason.map(|reason| reason.into_owned().into()),
        client: ClientContext {
            ip_address: ip_address.into_owned(),
            user_agent: user_agent.into_owned(),
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
        let whats =
            [what.clone(), Occurrence { user: UserId::parse("bob").expect("a user"), ..what }];
        let fields = |add: &Cmd, skipped| {
            let arguments = add.args_iter().skip(skipped).map(|argument| match argument {
                redis::Arg::Simple(bytes) => Value::BulkString(bytes.to_vec()),
                _ => Value::Nil,
            });
            arguments.collect::<Vec<_>>()
        };
        let (first, further) = (addition(&whats, true), addition(&whats, false));
        assert_eq!(fields(&first, 6), fields(&further, 3));
        let known = fields(&further, 3);
        let entry = |id: &str, fields| Value::Array(vec![bulk(id), Value::Array(fields)]);
        let partly = r#"[[7,"OF_A_LATER_RELEASE","default","alice",null,"shop",null,null,"",""],
            [7,"VERIFIED","default","carol",null,"shop",null,null,"",""]]"#;
        let answer = Value::Array(vec![
            entry("5-1", known),
            entry("6-0", vec![bulk(NAME), bulk(partly)]),
            entry("6-1", vec![bulk("of a later release"), bulk("[]")]),
            entry("6-2", vec![bulk(NAME), bulk("no list")]),
        ]);

        let page = page(Some(&answer));
        assert_eq!(page.last, Some(EventId { millis: 6, sequence: 23 }));
        let [alice, bob] = whats;
        let id = |millis, sequence| EventId { millis, sequence };
        let read: Vec<_> =
            page.events.iter().map(|event| (event.id, event.what.user.as_str())).collect();
        assert_eq!(read, [(id(5, 8), "alice"), (id(5, 9), "bob"), (id(6, 1), "carol")]);
        assert_eq!([&page.events[0].what, &page.events[1].what], [&alice, &bob]);
    }

    #[test]
    fn the_id_of_an_event_leads_to_its_entry() {
        let entry = EventId { millis: 5, sequence: 3 };
        for place in 0..PLACES {
            assert_eq!(entry_of(id_at(entry, place)), (entry, place));
        }
        assert!(last_of(entry) < id_at(EventId { millis: 5, sequence: 4 }, 0));
    }
}
