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
mod renew;
mod run;
mod scan;
mod scripts;
mod sentinel;
mod server;
mod stream;
mod target;
mod topology;

pub use address::{Address, AddressError};
pub use stream::EventLog;
pub use target::Restoring;

use super::{Durability, Loaded, Recent, RecordKey, Store, StoreError, Swap, Swapped, Walk};
use crate::boxed;
use crate::deadline::Deadline;
use ::redis::{Pipeline, Value, cmd};
use async_trait::async_trait;
use connection::{Connector, Credentials};
use keys::BUCKETS;
use markers::Survey;
use node::{Node, Settings};
use scan::Scan;
use scripts::{Run, Verdict};
use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use topology::Topology;
use zeroize::Zeroizing;

/// What is kept of a call's time to tell its end.
const MARGIN: Duration = Duration::from_millis(5);
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
    recent: Recent,
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

    /// The log of events that all replicas share.
    pub fn event_log(&self) -> EventLog {
        EventLog::new(self.topology.clone(), self.settings.clone())
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
            recent: Recent::default(),
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
            let live = node.live(deadline).await.map_err(|cause| unavailable(cause, false))?;
            for found in node.markers(&live, &node.buckets(), deadline).await? {
                survey.add(found);
            }
        }
        if survey.buckets < usize::from(BUCKETS) {
            let cause = "the Cluster is being laid out anew: try again when it is done";
            return Err(unavailable(cause.into(), false));
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
        let waited = if self.replicas > 0 { answers.pop() } else { None };
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
        match waited {
            Some(waited) => self.confirmed(&waited).map_err(|cause| unavailable(cause, true)),
            None => Ok(()),
        }
    }

    fn remember(&self, marker: Vec<u8>) {
        // It is set once, before anybody else has the store.
        let _ = self.settings.marker.set(marker);
    }
}

type Answering<'f, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'f>>;

#[async_trait]
impl Store for Redis {
    // These two are what the attribute makes of an `async fn`, but for how they get into their boxes.
    fn load<'s, 'k, 'f>(&'s self, key: &'k RecordKey, deadline: Deadline) -> Answering<'f, Loaded>
    where
        's: 'f,
        'k: 'f,
    {
        boxed!(async move {
            let ran = self.run(&Run::load(key), false, deadline).await?;
            scripts::loaded(ran.answer, self.marker())
        })
    }

    fn swap<'s, 'f>(&'s self, swap: Swap, deadline: Deadline) -> Answering<'f, Swapped>
    where
        's: 'f,
    {
        boxed!(async move {
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
        })
    }

    async fn walk(&self, deadline: Deadline) -> Result<Box<dyn Walk>, StoreError> {
        let until = deadline.earlier(MARGIN);
        self.all_are_served()?;
        let nodes = self.topology.table().nodes.clone();
        Ok(Box::new(Scan::begin(nodes, self.marker(), until).await?))
    }

    fn marker(&self) -> &[u8] {
        self.settings.marker.get().map(Vec::as_slice).unwrap_or_default()
    }

    async fn markers(&self, deadline: Deadline) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut all = BTreeSet::new();
        for node in &self.topology.table().nodes {
            all.extend(self.present(node, deadline.earlier(MARGIN)).await?);
        }
        Ok(all.into_iter().collect())
    }

    async fn renew_markers(&self, marker: &[u8], deadline: Deadline) -> Result<(), StoreError> {
        for node in &self.topology.table().nodes {
            self.renew(node, marker, deadline.earlier(MARGIN)).await?;
        }
        Ok(())
    }

    async fn check(&self, deadline: Deadline) -> Result<(), StoreError> {
        let until = deadline.earlier(MARGIN);
        self.topology.refresh_routinely(until).await;
        self.all_are_served()?;
        for node in &self.topology.table().nodes {
            node.check(until).await?;
        }
        Ok(())
    }

    fn waits_for(&self, durability: Durability) -> bool {
        match durability {
            Durability::Enrollment => self.replicas > 0,
            Durability::Attempt => self.replicas > 0 && self.acknowledge_attempts,
        }
    }

    fn recent(&self) -> Option<&Recent> {
        Some(&self.recent)
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
pub(super) mod tests {
    use super::*;

    pub(super) fn store(replicas: u32, acknowledge_attempts: bool) -> Redis {
        let connector = Connector::new(Credentials::default(), false, None, Duration::from_secs(1));
        let settings = Arc::new(Settings {
            connector: Arc::new(connector.expect("no TLS")),
            is_cluster: false,
            marker: OnceLock::new(),
        });
        let layout = Layout::Cluster(Vec::new());
        let topology = Arc::new(Topology::new(layout, settings.clone()));
        let recent = Recent::default();
        Redis { topology, settings, replicas, acknowledge_attempts, recent }
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
