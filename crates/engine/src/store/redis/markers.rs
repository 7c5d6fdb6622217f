//! The markers that say of each bucket that it belongs to the dataset and was not emptied.
//!
//! Every load that finds no record looks at the marker itself: that is what keeps answers right. What is
//! here looks at many of them ahead of that, so that an operator learns of a loss before a user does.

use super::connection::Connection;
use super::fault;
use super::keys::{BUCKETS, Bucket};
use crate::deadline::Deadline;
use redis::{Pipeline, Value, cmd};

/// What was found where markers should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// How many buckets were looked at.
    pub(super) buckets: usize,
    /// How many have no marker.
    pub(super) missing: usize,
    /// How many have one of another dataset, or something that is none.
    pub(super) foreign: usize,
    /// A marker that was found, and that the others were compared with.
    pub(super) marker: Option<Vec<u8>>,
}

impl Survey {
    /// Adds what is under the key of a bucket's marker.
    pub(super) fn add(&mut self, found: Option<Vec<u8>>) {
        self.buckets += 1;
        match (found, &self.marker) {
            (None, _) => self.missing += 1,
            (Some(found), None) => self.marker = Some(found),
            (Some(found), Some(marker)) => self.foreign += usize::from(found != *marker),
        }
    }

    /// What is wrong, as a sentence for an operator.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { buckets, missing, foreign, .. } = self;
        let is_part = if *buckets < usize::from(BUCKETS) { " that were looked at" } else { "" };
        let missing_are = (*missing > 0).then(|| {
            format!(
                "{missing} of the {buckets} buckets{is_part} have no marker: they were emptied, or \
                 never initialized"
            )
        });
        let foreign_are = (*foreign > 0).then(|| {
            format!(
                "{foreign} of the {buckets} buckets{is_part} have the marker of another dataset"
            )
        });
        match (missing_are, foreign_are) {
            (Some(one), Some(other)) => Some(format!("{one}; {other}")),
            (one, other) => one.or(other),
        }
    }
}

/// Reads the markers of some buckets, all of one server; the error says why that could not be done.
pub(super) async fn read(
    connection: &Connection,
    buckets: &[Bucket],
    until: Deadline,
) -> Result<Vec<Option<Vec<u8>>>, String> {
    if buckets.is_empty() {
        return Ok(Vec::new());
    }
    let mut reads = Pipeline::with_capacity(buckets.len());
    for bucket in buckets {
        let mut read = cmd("GET");
        read.arg(bucket.marker());
        reads.add_command(read);
    }
    let answers = connection.send_all(&reads, until).await.map_err(fault::Fault::into_cause)?;
    answers
        .into_iter()
        .map(|answer| match answer {
            Value::Nil => Ok(None),
            Value::BulkString(marker) => Ok(Some(marker)),
            // A key of another type: something that is no marker.
            Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Some(Vec::new())),
            Value::ServerError(error) => Err(error.to_string()),
            _ => Err("the server answered something else".into()),
        })
        .collect()
}

/// Compares the markers of some buckets, all of one server, with what they must be.
pub(super) async fn survey(
    connection: &Connection,
    buckets: &[Bucket],
    marker: &[u8],
    until: Deadline,
) -> Result<Survey, String> {
    let mut survey = Survey { marker: Some(marker.to_vec()), ..Survey::default() };
    for found in read(connection, buckets, until).await? {
        survey.add(found);
    }
    Ok(survey)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survey_says_how_much_is_missing() {
        let mut survey = Survey::default();
        for _ in 0..1000 {
            survey.add(Some(b"one".to_vec()));
        }
        assert_eq!(survey.fault(), None);
        for _ in 0..24 {
            survey.add(None);
        }
        let fault = survey.fault().expect("a fault");
        assert!(fault.starts_with("24 of the 1024 buckets have no marker"), "{fault}");
        survey.add(Some(b"two".to_vec()));
        let fault = survey.fault().expect("a fault");
        assert!(fault.contains("1 of the 1025 buckets have the marker of another"), "{fault}");
    }
}
