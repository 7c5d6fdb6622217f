//! Where a backup is restored to.

use super::{Record, StoreError};
use crate::backup::Scope;
use async_trait::async_trait;

/// A store, or what may become one, that a backup is written to. Nobody else is to use it meanwhile.
///
/// Whatever ends the work early, there is no marker, or not everywhere: the store answers as incomplete,
/// and never as one that knows nobody.
#[async_trait]
pub trait Target: Send {
    /// What is there; nothing is changed.
    async fn look(&mut self, scope: &Scope) -> Result<Found, StoreError>;

    /// Removes all markers, and then the records of the scope.
    async fn clear(&mut self, scope: &Scope) -> Result<(), StoreError>;

    /// Writes records as they are, over those of the same name, in their order.
    async fn put(&mut self, records: Vec<Record>) -> Result<(), StoreError>;

    /// Writes the marker, which makes the store complete.
    async fn mark(&mut self, marker: &[u8]) -> Result<(), StoreError>;
}

/// What is where a backup is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The marker.
    pub marker: Marked,
    /// How many records of the scope there are.
    pub inside: u64,
    /// How many others.
    pub outside: u64,
}

/// Where there is a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// Nowhere.
    Nowhere,
    /// Not in all places where it must be, or of several datasets: the store is incomplete.
    InPart,
    /// Everywhere.
    Everywhere(Vec<u8>),
}
