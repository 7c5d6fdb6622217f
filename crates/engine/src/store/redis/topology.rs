//! Which server has which bucket.
//!
//! Routing is a look-up in a table. The table is made anew when a server says that it is wrong, or cannot
//! be reached: by one task, however many noticed.

use super::Layout;
use super::address::Address;
use super::cluster;
use super::keys::{BUCKETS, Bucket};
use super::node::{Node, Settings};
use super::sentinel;
use crate::deadline::Deadline;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

/// How often the sentinels or the Cluster are asked without a cause.
const ROUTINE: Duration = Duration::from_secs(1);

/// Which server has which bucket, as far as is known.
pub(super) struct Topology {
    layout: Layout,
    settings: Arc<Settings>,
    table: RwLock<Arc<Table>>,
    /// Held by who makes the table anew.
    refreshing: tokio::sync::Mutex<()>,
    /// How often it was made anew.
    refreshed: AtomicU64,
    routine: Mutex<Deadline>,
}

/// One view of the whole.
#[derive(Clone)]
pub(super) struct Table {
    /// The servers that have a bucket.
    pub(super) nodes: Vec<Arc<Node>>,
    /// Of each bucket, the index of its server.
    owners: Box<[Option<u16>]>,
}

impl Topology {
    pub(super) fn new(layout: Layout, settings: Arc<Settings>) -> Self {
        let table = match &layout {
            Layout::Standalone(address) => Table::of_one(address.clone(), &settings, None),
            Layout::Sentinel { .. } | Layout::Cluster(_) => Table::default(),
        };
        Self {
            layout,
            settings,
            table: RwLock::new(Arc::new(table)),
            refreshing: tokio::sync::Mutex::default(),
            refreshed: AtomicU64::new(0),
            routine: Mutex::new(Deadline::after(Duration::ZERO)),
        }
    }

    /// The server of a bucket, where one is known.
    pub(super) fn route(&self, bucket: Bucket) -> Option<Arc<Node>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.owner(bucket).cloned()
    }

    /// The present view.
    pub(super) fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes the table anew, unless somebody else does so meanwhile. The error says why that failed; the
    /// table is then as it was.
    pub(super) async fn refresh(&self, until: Deadline) -> Result<(), String> {
        let known = self.refreshed.load(Ordering::Acquire);
        let _alone = until
            .limit(self.refreshing.lock())
            .await
            .map_err(|_| "finding the servers took too long".to_owned())?;
        if self.refreshed.load(Ordering::Acquire) != known {
            return Ok(());
        }
        let present = self.table();
        let made = match &self.layout {
            Layout::Standalone(_) => return Ok(()),
            Layout::Sentinel { sentinels, master } => {
                let address =
                    sentinel::primary(&self.settings.connector, sentinels, master, until).await?;
                Table::of_one(address, &self.settings, Some(&present))
            }
            Layout::Cluster(seeds) => {
                let connector = &self.settings.connector;
                let owners = cluster::owners(connector, &present, seeds, until).await?;
                Table::of_many(owners, &self.settings, &present)
            }
        };
        self.replace(made);
        self.refreshed.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Asks again from time to time, so that a failover is noticed even while the old primary answers.
    pub(super) async fn refresh_routinely(&self, until: Deadline) {
        {
            let mut routine = self.routine.lock().unwrap_or_else(PoisonError::into_inner);
            if !routine.remaining().is_zero() {
                return;
            }
            *routine = Deadline::after(ROUTINE);
        }
        if let Err(cause) = self.refresh(until).await {
            tracing::warn!("the servers' layout is not known: {cause}");
        }
    }

    /// Takes a server's word for who has a bucket now.
    pub(super) fn moved(&self, bucket: Bucket, address: Address) {
        let mut table = Table::clone(&self.table());
        table.set(bucket, address, &self.settings);
        self.replace(table);
    }

    /// A server that was named by another one; it need not be in the table.
    pub(super) fn node(&self, address: Address) -> Arc<Node> {
        let table = self.table();
        let known = table.nodes.iter().find(|node| node.address == address).cloned();
        known.unwrap_or_else(|| Arc::new(Node::new(address, self.settings.clone())))
    }

    fn replace(&self, table: Table) {
        for (index, node) in table.nodes.iter().enumerate() {
            node.assign(table.buckets_of(index));
        }
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { nodes: Vec::new(), owners: vec![None; usize::from(BUCKETS)].into() }
    }
}

impl Table {
    /// How many buckets have a server.
    pub(super) fn covered(&self) -> usize {
        self.owners.iter().flatten().count()
    }

    fn owner(&self, bucket: Bucket) -> Option<&Arc<Node>> {
        self.nodes.get(usize::from(self.owners[bucket.index()]?))
    }

    fn buckets_of(&self, index: usize) -> Vec<Bucket> {
        let is_here = |bucket: &Bucket| {
            self.owners[bucket.index()].is_some_and(|owner| usize::from(owner) == index)
        };
        Bucket::all().filter(is_here).collect()
    }

    /// All buckets on one server, whose connections are kept where it was the one before.
    fn of_one(address: Address, settings: &Arc<Settings>, before: Option<&Self>) -> Self {
        let owners = Bucket::all().map(|_| Some(address.clone())).collect();
        let table = Self::of_many(owners, settings, before.unwrap_or(&Self::default()));
        if before.is_none() {
            table.nodes.iter().for_each(|node| node.assign(Bucket::all().collect()));
        }
        table
    }

    fn of_many(owners: Vec<Option<Address>>, settings: &Arc<Settings>, before: &Self) -> Self {
        let mut table = Self::default();
        for (bucket, owner) in Bucket::all().zip(owners) {
            let Some(address) = owner else { continue };
            let known = before.nodes.iter().find(|node| node.address == address);
            let index = table.index(known, address, settings);
            table.owners[bucket.index()] = index;
        }
        table
    }

    fn set(&mut self, bucket: Bucket, address: Address, settings: &Arc<Settings>) {
        self.owners[bucket.index()] = self.index(None, address, settings);
    }

    fn index(
        &mut self,
        known: Option<&Arc<Node>>,
        address: Address,
        settings: &Arc<Settings>,
    ) -> Option<u16> {
        let found = self.nodes.iter().position(|node| node.address == address);
        let index = found.unwrap_or_else(|| {
            let node = known.cloned();
            self.nodes.push(node.unwrap_or_else(|| Arc::new(Node::new(address, settings.clone()))));
            self.nodes.len() - 1
        });
        // There are at most as many servers as buckets.
        u16::try_from(index).ok()
    }
}
