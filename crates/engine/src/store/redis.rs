//! The store over Redis or Valkey, for several replicas of Twinlock: one key a user.
//!
//! - A record is replaced by one script, on one server, if it is still the one that was loaded. That
//!   alone makes one winner of many, however many processes try.
//! - Time is the server's, read with the record.
//! - A missing record is believed only beside its bucket's marker, which the same script reads.
//! - A server that must not write, such as a primary that was replaced, refuses loads too.
//!
//! **What is repeated, and what never is.** Loads are. A swap is repeated only where the server said that
//! it did not execute it, or where it was never sent. A swap that was sent and not answered may have been
//! executed, or may still be, whenever the server gets to it. That ends in
//! [`StoreError::Unavailable`] with `may_have_happened`, and in no second swap. It cannot do harm late: it
//! replaces only the version that it was decided on, so either it comes before whatever is decided next,
//! which then sees it, or it finds another version and does nothing.

mod address;
mod cluster;
mod connection;
mod fault;
mod keys;
mod markers;
mod node;
mod scan;
mod scripts;
mod sentinel;
mod server;
mod topology;

pub use address::{Address, AddressError};
pub use scan::Scan;

use super::{Durability, Loaded, RecordKey, Store, StoreError, Swap, Swapped};
use crate::deadline::Deadline;
use ::redis::{Cmd, Pipeline, Value, cmd};
use async_trait::async_trait;
use connection::{Connector, Credentials};
use fault::{Fault, Refusal};
use keys::BUCKETS;
use markers::Survey;
use node::{Defect, Node, Settings};
use scripts::{Run, Verdict};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use topology::Topology;
use zeroize::Zeroizing;

/// What is kept of a call's time to tell its end.
const MARGIN: Duration = Duration::from_millis(5);
/// The most times that one access is sent.
const TURNS: u32 = 64;
/// How often a server may send a call elsewhere before the call pauses in between.
const REDIRECTIONS: u32 = 3;
/// The first pause before a server is asked again that could not answer yet; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The most of a call's time that a wait for replicas leaves for its answer.
const LEFT_FOR_ANSWER: Duration = Duration::from_millis(100);

/// How to reach Redis, and what to ask of it.
#[derive(Clone)]
pub struct Options {
    /// How the servers are laid out.
    pub layout: Layout,
    /// The ACL user; the server's default user where there is none.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Zeroizing<String>>,
    /// The authorities that sign the servers' certificates, PEM; the system's where there are none.
    pub tls_authorities: Option<Vec<u8>>,
    /// The longest that connecting or one answer may take; a call may ask more than once.
    pub timeout: Duration,
    /// How many replicas must have confirmed a change to an enrollment.
    pub acknowledging_replicas: u32,
    /// Whether all other changes wait for them, too.
    pub acknowledge_attempts: bool,
}

/// How the servers are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One server.
    Standalone(Address),
    /// A primary that sentinels know.
    Sentinel {
        /// The sentinels, at least one.
        sentinels: Vec<Address>,
        /// The name under which they know the primary.
        master: String,
    },
    /// A Cluster, of which some nodes are named.
    Cluster(Vec<Address>),
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("layout", &self.layout)
            .field("timeout", &self.timeout)
            .field("acknowledging_replicas", &self.acknowledging_replicas)
            .finish_non_exhaustive()
    }
}

/// A store over Redis.
pub struct Redis {
    topology: Arc<Topology>,
    settings: Arc<Settings>,
    replicas: u32,
    acknowledge_attempts: bool,
}

/// Servers that hold no dataset.
pub struct Vacant(Redis);

impl Vacant {
    /// Makes a new dataset: writes the marker to every bucket. It is kept as it is; the engine seals it.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] where somebody else did so at the same time;
    /// [`StoreError::Unavailable`] where not all servers took it. What was written by then stays, and a
    /// second try is refused: whoever runs it must look.
    pub async fn initialize(self, marker: &[u8], deadline: Deadline) -> Result<Redis, StoreError> {
        let Self(store) = self;
        for node in &store.topology.table().nodes {
            store.mark(node, marker, deadline).await?;
        }
        store.remember(marker.to_vec());
        Ok(store)
    }
}

impl Redis {
    /// Makes sure that there is no dataset yet, so that one may be made; it writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] where there is a marker or a record already;
    /// [`StoreError::Unavailable`] where a server cannot be reached, or is not fit.
    pub async fn vacant(options: Options, deadline: Deadline) -> Result<Vacant, StoreError> {
        let store = Self::connect(options, deadline).await?;
        let survey = store.survey(deadline).await?;
        let present = survey.buckets - survey.missing;
        if present > 0 {
            return Err(StoreError::Incomplete(format!(
                "there is a dataset already: {present} of the {BUCKETS} buckets have a marker"
            )));
        }
        for node in &store.topology.table().nodes {
            refuse_records(node, deadline).await?;
        }
        Ok(Vacant(store))
    }

    /// Opens the dataset that is there. It never makes one.
    ///
    /// [`Store::check`] is to be called about once a second from then on: it is also what asks sentinels
    /// whether they have another primary by now.
    ///
    /// # Errors
    /// [`StoreError::Incomplete`] where a bucket has no marker or the buckets' markers differ;
    /// [`StoreError::Unavailable`] where a server cannot be reached, or is not fit: a replica, an eviction
    /// policy that deletes records, too old. The cause says what mends it.
    pub async fn open(options: Options, deadline: Deadline) -> Result<Self, StoreError> {
        let store = Self::connect(options, deadline).await?;
        let survey = store.survey(deadline).await?;
        let Some(marker) = survey.marker.clone() else {
            return Err(StoreError::Incomplete(format!(
                "none of the {BUCKETS} buckets has a marker: it was never initialized, or was emptied"
            )));
        };
        if let Some(fault) = survey.fault() {
            return Err(StoreError::Incomplete(fault));
        }
        store.remember(marker);
        Ok(store)
    }

    /// The marker that the dataset was initialised with.
    pub fn marker(&self) -> &[u8] {
        self.settings.marker.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// A walk over all records.
    pub fn scan(&self) -> Scan {
        Scan::new(self.topology.table().nodes.clone())
    }

    async fn connect(options: Options, deadline: Deadline) -> Result<Self, StoreError> {
        let addresses = match &options.layout {
            Layout::Standalone(address) => std::slice::from_ref(address),
            Layout::Sentinel { sentinels, .. } => sentinels,
            Layout::Cluster(nodes) => nodes,
        };
        let tls = addresses.iter().any(|it| matches!(it, Address::Tcp { tls: true, .. }));
        let credentials = Credentials { username: options.username, password: options.password };
        let authorities = options.tls_authorities.as_deref();
        let connector = Connector::new(credentials, tls, authorities, options.timeout);
        let settings = Arc::new(Settings {
            connector: Arc::new(connector.map_err(|cause| unavailable(cause, false))?),
            is_cluster: matches!(options.layout, Layout::Cluster(_)),
            marker: OnceLock::new(),
        });
        let store = Self {
            topology: Arc::new(Topology::new(options.layout, settings.clone())),
            settings,
            replicas: options.acknowledging_replicas,
            acknowledge_attempts: options.acknowledge_attempts,
        };
        let refreshed = store.topology.refresh(deadline).await;
        refreshed.map_err(|cause| unavailable(cause, false))?;
        store.all_are_served()?;
        for node in &store.topology.table().nodes {
            node.live(deadline).await.map_err(|cause| unavailable(cause, false))?;
        }
        Ok(store)
    }

    /// Whether every bucket has a server.
    fn all_are_served(&self) -> Result<(), StoreError> {
        let served = self.topology.table().covered();
        if served == usize::from(BUCKETS) {
            return Ok(());
        }
        let cause =
            format!("the nodes of the Cluster serve only {served} of the {BUCKETS} buckets");
        Err(unavailable(cause, false))
    }

    /// Looks at the markers of all buckets.
    async fn survey(&self, deadline: Deadline) -> Result<Survey, StoreError> {
        let mut survey = Survey::default();
        for node in &self.topology.table().nodes {
            let found = async {
                let live = node.live(deadline).await?;
                let limit = deadline.within(self.settings.connector.timeout);
                markers::read(live.connection(), &node.buckets(), limit).await
            };
            for marker in found.await.map_err(|cause| unavailable(cause, false))? {
                survey.add(marker);
            }
        }
        Ok(survey)
    }

    /// Writes the marker to all buckets of one server.
    async fn mark(
        &self,
        node: &Arc<Node>,
        marker: &[u8],
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        let mut writes = Pipeline::new();
        for bucket in node.buckets().iter() {
            let mut write = cmd("SET");
            write.arg(bucket.marker()).arg(marker).arg("NX");
            writes.add_command(write);
        }
        if self.replicas > 0 {
            writes.add_command(self.wait(false, deadline));
        }
        let answers = node.send_alone(&writes, deadline.earlier(MARGIN)).await;
        let mut answers = answers.map_err(|fault| unavailable(fault.into_cause(), true))?;
        if self.replicas > 0 {
            let waited = answers.pop().unwrap_or_default();
            self.confirmed(&waited).map_err(|cause| unavailable(cause, true))?;
        }
        for answer in answers {
            match answer {
                Value::Okay => {}
                Value::ServerError(error) => return Err(unavailable(error.to_string(), true)),
                _ => {
                    return Err(StoreError::Incomplete(
                        "somebody else made a dataset there at the same time".into(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn remember(&self, marker: Vec<u8>) {
        // It is set once, before anybody else has the store.
        let _ = self.settings.marker.set(marker);
    }

    /// Runs a script where its keys are; where that is meanwhile elsewhere, there.
    async fn run(&self, run: &Run, wait: bool, deadline: Deadline) -> Result<Ran, StoreError> {
        let until = deadline.earlier(MARGIN);
        // Who cannot reach a server waits no longer than for its answer: a queue of callers helps nobody.
        let patience = until.within(self.settings.connector.timeout);
        let mut elsewhere = None;
        let mut in_full = false;
        let mut redirections = 0;
        let mut pauses = 0;
        let mut cause = "it took too long".to_owned();
        for _ in 0..TURNS {
            let mut limit = until;
            let mut pause = false;
            match self.turn(run, elsewhere.take(), in_full, wait, until).await {
                Turn::Ran(ran) => return Ok(ran),
                Turn::Refused(Refusal::NoScript, node) => {
                    in_full = true;
                    elsewhere = node;
                }
                Turn::Refused(Refusal::Moved(target), Some(node)) => {
                    redirections += 1;
                    pause = redirections > REDIRECTIONS;
                    if let Some(address) = node.address.redirected(&target) {
                        self.topology.moved(run.bucket, address);
                    }
                    self.refresh_meanwhile();
                    cause = "the Cluster is being laid out anew".into();
                }
                Turn::Refused(Refusal::Ask(target), Some(node)) => {
                    redirections += 1;
                    pause = redirections > REDIRECTIONS;
                    elsewhere = node.address.redirected(&target).map(|it| self.topology.node(it));
                    cause = "the Cluster is being laid out anew".into();
                }
                Turn::Refused(Refusal::Later(said), _) => {
                    (pause, cause) = (true, said);
                    self.refresh_meanwhile();
                }
                Turn::Refused(Refusal::Demoted(said), _) | Turn::NotSent(said, true) => {
                    (pause, limit, cause) = (true, patience, said);
                    self.find_servers(limit, &mut cause).await;
                }
                Turn::NotSent(said, false) => {
                    (limit, cause) = (patience, said);
                    self.find_servers(limit, &mut cause).await;
                }
                Turn::Lost(said) if run.changes_nothing() => {
                    cause = said;
                    self.find_servers(until, &mut cause).await;
                }
                Turn::Lost(said) => return Err(unavailable(said, true)),
                Turn::Refused(
                    Refusal::Final(said) | Refusal::Moved(said) | Refusal::Ask(said),
                    _,
                ) => {
                    return Err(unavailable(format!("the server says {said}"), false));
                }
            }
            if pause {
                let wait = FIRST_PAUSE.saturating_mul(1 << pauses.min(8)).min(LONGEST_PAUSE);
                pauses += 1;
                tokio::time::sleep(wait.min(limit.remaining())).await;
            }
            if limit.remaining().is_zero() {
                break;
            }
        }
        Err(unavailable(cause, false))
    }

    /// Sends a script once.
    async fn turn(
        &self,
        run: &Run,
        elsewhere: Option<Arc<Node>>,
        in_full: bool,
        wait: bool,
        until: Deadline,
    ) -> Turn {
        let asking = elsewhere.is_some();
        let Some(node) = elsewhere.or_else(|| self.topology.route(run.bucket)) else {
            return Turn::NotSent("no node of the Cluster serves the user's bucket".into(), true);
        };
        let command = if in_full { run.in_full() } else { run.by_name() };
        let patience = until.within(self.settings.connector.timeout);
        let live = match node.live(patience).await {
            Ok(live) => live,
            Err(cause) => return Turn::NotSent(cause, false),
        };
        let answered = if wait {
            self.send_and_wait(&node, live.tells_of_disks(), command, asking, until).await
        } else if asking {
            let answers = node.send_all(&live, &asking_first(command), until).await;
            answers
                .map(|mut answers| Ran { answer: answers.pop().unwrap_or_default(), waited: None })
        } else {
            let answer = node.send(&live, &command, until).await;
            answer.map(|answer| Ran { answer, waited: None })
        };
        match answered {
            Ok(ran) => match fault::error_of(&ran.answer).map(fault::refusal) {
                None => Turn::Ran(ran),
                // Who was asked by name has to be asked so again.
                Some(Refusal::NoScript) => Turn::Refused(Refusal::NoScript, asking.then_some(node)),
                Some(refusal) => Turn::Refused(refusal, Some(node)),
            },
            Err(Fault::NotSent(cause)) => Turn::NotSent(cause, false),
            Err(Fault::Broken(cause) | Fault::Silent(cause)) => Turn::Lost(cause),
        }
    }

    /// Sends a script, and in the same piece the question who has taken what it wrote.
    async fn send_and_wait(
        &self,
        node: &Arc<Node>,
        tells_of_disks: bool,
        command: Cmd,
        asking: bool,
        until: Deadline,
    ) -> Result<Ran, Fault> {
        let mut commands = if asking { asking_first(command) } else { alone(command) };
        commands.add_command(self.wait(tells_of_disks, until));
        let mut answers = node.send_alone(&commands, until).await?;
        let waited = answers.pop();
        Ok(Ran { answer: answers.pop().unwrap_or_default(), waited })
    }

    fn wait(&self, tells_of_disks: bool, until: Deadline) -> Cmd {
        let left = until.remaining();
        let wait = left - LEFT_FOR_ANSWER.min(left / 10);
        // 0 would be for ever.
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut command = cmd(if tells_of_disks { "WAITAOF" } else { "WAIT" });
        if tells_of_disks {
            command.arg(1);
        }
        command.arg(self.replicas).arg(millis);
        command
    }

    /// Whether enough replicas have taken a write. Both commands answer at their time-out as they do at
    /// their success, with fewer.
    fn confirmed(&self, waited: &Value) -> Result<(), String> {
        let (on_disk, replicas) = match waited {
            Value::Int(replicas) => (true, *replicas),
            Value::Array(counts) => match counts.as_slice() {
                [Value::Int(local), Value::Int(replicas)] => (*local > 0, *replicas),
                _ => return Err("the server did not say who has the change".into()),
            },
            Value::ServerError(error) => return Err(format!("the wait for replicas: {error}")),
            _ => return Err("the server did not say who has the change".into()),
        };
        if !on_disk {
            return Err("the change was not on the primary's disk in time".into());
        }
        if replicas < i64::from(self.replicas) {
            let wanted = self.replicas;
            return Err(format!("{replicas} of {wanted} replicas confirmed the change in time"));
        }
        Ok(())
    }

    /// Looks for the servers again; where that fails, its cause is the better one.
    async fn find_servers(&self, until: Deadline, cause: &mut String) {
        if let Err(why) = self.topology.refresh(until).await {
            *cause = why;
        }
    }

    fn refresh_meanwhile(&self) {
        if !self.settings.is_cluster {
            return;
        }
        let (topology, timeout) = (self.topology.clone(), self.settings.connector.timeout);
        // Where it fails, the next call that is sent elsewhere tries again.
        tokio::spawn(async move { topology.refresh(Deadline::after(timeout)).await });
    }
}

#[async_trait]
impl Store for Redis {
    async fn load(&self, key: &RecordKey, deadline: Deadline) -> Result<Loaded, StoreError> {
        let ran = self.run(&Run::load(key), false, deadline).await?;
        scripts::loaded(ran.answer, self.marker())
    }

    async fn swap(&self, swap: Swap, deadline: Deadline) -> Result<Swapped, StoreError> {
        let wait = self.waits_for(swap.durability);
        let ran = self.run(&Run::swap(swap, self.marker()), wait, deadline).await?;
        match scripts::verdict(&ran.answer) {
            Some(Verdict::Done) => {}
            Some(Verdict::Changed) => return Ok(Swapped::Changed),
            Some(Verdict::NoMarker) => return Err(scripts::emptied()),
            None => return Err(unavailable("the server answered something else".into(), true)),
        }
        if let Some(waited) = ran.waited {
            self.confirmed(&waited).map_err(|cause| unavailable(cause, true))?;
        }
        Ok(Swapped::Done)
    }

    async fn check(&self, deadline: Deadline) -> Result<(), StoreError> {
        let until = deadline.earlier(MARGIN);
        self.topology.refresh_routinely(until).await;
        self.all_are_served()?;
        for node in &self.topology.table().nodes {
            node.check(until).await.map_err(|defect| match defect {
                Defect::Unreachable(cause) => unavailable(cause, false),
                Defect::Incomplete(cause) => StoreError::Incomplete(cause),
            })?;
        }
        Ok(())
    }

    fn waits_for(&self, durability: Durability) -> bool {
        match durability {
            Durability::Enrollment => self.replicas > 0,
            Durability::Attempt => self.replicas > 0 && self.acknowledge_attempts,
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for node in &self.topology.table().nodes {
            let Some(live) = node.connected() else { continue };
            let facts = live.facts();
            warnings.extend(facts.warnings.iter().map(|it| format!("{}: {it}", node.address)));
            if facts.replicas < self.replicas {
                warnings.push(format!(
                    "{}: {} replicas follow it, and {} must confirm a change to an enrollment: such \
                     changes fail",
                    node.address, facts.replicas, self.replicas
                ));
            }
        }
        warnings
    }
}

/// What a script answered, and what the wait for replicas did.
struct Ran {
    answer: Value,
    waited: Option<Value>,
}

/// How it ended that a script was sent once.
enum Turn {
    Ran(Ran),
    /// The server did not execute it; with the server.
    Refused(Refusal, Option<Arc<Node>>),
    /// It never left; and whether nothing was even waited for.
    NotSent(String, bool),
    /// It was sent and not answered.
    Lost(String),
}

fn alone(command: Cmd) -> Pipeline {
    let mut commands = Pipeline::new();
    commands.add_command(command);
    commands
}

/// A node takes keys that are on their way to it only from who says so just before.
fn asking_first(command: Cmd) -> Pipeline {
    let mut commands = alone(cmd("ASKING"));
    commands.add_command(command);
    commands
}

/// Refuses a server that has a key of Twinlock's.
async fn refuse_records(node: &Arc<Node>, deadline: Deadline) -> Result<(), StoreError> {
    let live = node.live(deadline).await.map_err(|cause| unavailable(cause, false))?;
    let mut cursor = "0".to_owned();
    loop {
        let page = scan::keys_at(node, &live, &cursor, deadline).await;
        let (next, found) = page.map_err(|cause| unavailable(cause, false))?;
        if !found.is_empty() {
            return Err(StoreError::Incomplete(
                "there are records already, without a marker: a part of a dataset".into(),
            ));
        }
        if next == "0" {
            return Ok(());
        }
        cursor = next;
    }
}

fn unavailable(cause: String, may_have_happened: bool) -> StoreError {
    StoreError::Unavailable { cause, may_have_happened }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(replicas: u32, acknowledge_attempts: bool) -> Redis {
        let connector = Connector::new(Credentials::default(), false, None, Duration::from_secs(1));
        let settings = Arc::new(Settings {
            connector: Arc::new(connector.expect("no TLS")),
            is_cluster: false,
            marker: OnceLock::new(),
        });
        let layout = Layout::Cluster(Vec::new());
        let topology = Arc::new(Topology::new(layout, settings.clone()));
        Redis { topology, settings, replicas, acknowledge_attempts }
    }

    #[test]
    fn a_wait_that_timed_out_is_no_confirmation() {
        let counts = |local, replicas| Value::Array(vec![Value::Int(local), Value::Int(replicas)]);
        let store = store(2, false);
        for enough in [Value::Int(2), Value::Int(3), counts(1, 2)] {
            assert_eq!(store.confirmed(&enough), Ok(()), "{enough:?}");
        }
        for few in
            [Value::Int(1), Value::Int(0), counts(1, 1), counts(0, 2), Value::Nil, Value::Okay]
        {
            assert!(store.confirmed(&few).is_err(), "{few:?}");
        }
    }

    #[test]
    fn a_wait_is_never_for_ever() {
        let store = store(1, false);
        let packed = store.wait(false, Deadline::after(Duration::ZERO)).get_packed_command();
        assert_eq!(packed, b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n1\r\n");
    }

    #[test]
    fn what_waits_is_what_was_asked_for() {
        use Durability::{Attempt, Enrollment};
        let waits = |replicas, attempts| {
            let store = store(replicas, attempts);
            (store.waits_for(Enrollment), store.waits_for(Attempt))
        };
        assert_eq!(waits(0, false), (false, false));
        assert_eq!(waits(0, true), (false, false));
        assert_eq!(waits(1, false), (true, false));
        assert_eq!(waits(1, true), (true, true));
    }

    #[test]
    fn a_password_does_not_show() {
        let options = Options {
            layout: Layout::Standalone(Address::parse("redis://a").expect("an address")),
            username: Some("user".into()),
            password: Some(Zeroizing::new("canary".into())),
            tls_authorities: None,
            timeout: Duration::from_secs(1),
            acknowledging_replicas: 0,
            acknowledge_attempts: false,
        };
        assert!(!format!("{options:?}").contains("canary"));
    }
}
