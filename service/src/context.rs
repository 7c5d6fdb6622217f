//! What every call needs, whichever edge it comes in by.

use crate::callers::Callers;
use crate::telemetry::Calls;
use std::sync::Arc;
use std::time::Duration;
use twinlock_engine::Engine;

/// What every call needs.
#[derive(Clone)]
pub struct Context {
    /// What decides.
    pub engine: Arc<Engine>,
    /// Who may call.
    pub callers: Arc<Callers>,
    /// Counts and traces each call.
    pub calls: Arc<Calls>,
    /// The longest that a call may take. Over REST the arrival of its body is part of it.
    pub deadline: Duration,
}
