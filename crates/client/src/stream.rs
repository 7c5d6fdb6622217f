//! Answers that come in many parts.

use std::fmt;
use std::sync::Arc;

use tonic::Response;

use crate::Error;

/// An answer in many parts: events as they happen, or the progress of long work.
///
/// Dropping it ends the call.
pub struct Stream<Part> {
    parts: tonic::Streaming<Part>,
    address: Arc<str>,
    missed_events: bool,
}

impl<Part> Stream<Part> {
    pub(crate) fn new(answer: Response<tonic::Streaming<Part>>, address: Arc<str>) -> Self {
        let missed_events = answer.metadata().get("twinlock-missed-events");
        let missed_events = missed_events.is_some_and(|value| value == "true");
        Self { parts: answer.into_inner(), address, missed_events }
    }

    /// Whether events after the one that a watch named are no longer kept, so that some are missing
    /// before its first one.
    pub fn missed_events(&self) -> bool {
        self.missed_events
    }

    /// The next part, or `None` after the last one.
    ///
    /// # Errors
    ///
    /// Whatever ended the stream before its end. Nothing comes after an error.
    pub async fn next(&mut self) -> Result<Option<Part>, Error> {
        self.parts.message().await.map_err(|status| Error::from_status(&status, &self.address))
    }
}

impl<Part> fmt::Debug for Stream<Part> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stream").field("address", &self.address).finish_non_exhaustive()
    }
}
