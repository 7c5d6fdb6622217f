//! The table of reasons, `tests/reasons.toml`: what an interface must say with each.

use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The table.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Reasons(BTreeMap<String, Expected>);

/// What an interface says with a reason.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The name of the gRPC code.
    pub grpc: String,
    /// The HTTP status.
    pub http: u16,
    /// Whether the failure says how long to wait. It does exactly where this is true.
    #[serde(default, rename = "retry_after")]
    pub has_retry_after: bool,
    /// Whether the failure names the field that is at fault. It does exactly where this is true.
    #[serde(default, rename = "field")]
    pub names_field: bool,
}

static TABLE: LazyLock<Result<Reasons, toml::de::Error>> =
    LazyLock::new(|| toml::from_str(include_str!("../../reasons.toml")));

impl Reasons {
    /// Reads the table.
    pub fn read() -> Result<&'static Self> {
        TABLE.as_ref().map_err(Clone::clone).context("reasons.toml")
    }

    /// What belongs to a reason.
    pub fn find(&self, reason: &str) -> Result<&Expected> {
        self.0.get(reason).with_context(|| format!("reasons.toml knows no reason {reason:?}"))
    }

    /// Every reason, with what belongs to it.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Expected)> {
        self.0.iter().map(|(reason, expected)| (reason.as_str(), expected))
    }
}
