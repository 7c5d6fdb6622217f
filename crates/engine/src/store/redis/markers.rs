//! The markers that say of each bucket that it belongs to the dataset and was not emptied.
//!
//! Every load that finds no record looks at the marker itself: that is what keeps answers right. What is
//! here looks at many of them ahead of that, so that an operator learns of a loss before a user does.

use super::keys::{BUCKETS, Bucket};
use crate::store::dataset_name;
use redis::{Pipeline, Value, cmd};

/// What was found where markers should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// How many buckets were looked at; those that are elsewhere do not count.
    pub(super) buckets: usize,
    /// How many have no marker.
    pub(super) missing: usize,
    /// How many have one of another dataset, or something that is none.
    pub(super) foreign: usize,
    /// A marker that was found, and that the others were compared with.
    pub(super) marker: Option<Vec<u8>>,
}

impl Survey {
    /// A survey that compares with what the markers must be.
    pub(super) fn against(marker: &[u8]) -> Self {
        Self { marker: Some(marker.to_vec()), ..Self::default() }
    }

    /// Adds what is under the key of a bucket's marker.
    pub(super) fn add(&mut self, found: Found) {
        match (found, &self.marker) {
            (Found::Elsewhere, _) => return,
            (Found::Nothing, _) => self.missing += 1,
            (Found::Marker(found), None) => self.marker = Some(found),
            (Found::Marker(found), Some(marker)) => {
                self.foreign += usize::from(dataset_name(&found) != dataset_name(marker));
            }
        }
        self.buckets += 1;
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

/// What is under the key of one marker.
pub(super) enum Found {
    Marker(Vec<u8>),
    Nothing,
    /// The bucket is no longer this server's, or on its way to another one.
    Elsewhere,
}

/// The question for the markers of some buckets, all of one server.
pub(super) fn question(buckets: &[Bucket]) -> Pipeline {
    let mut reads = Pipeline::with_capacity(buckets.len());
    for bucket in buckets {
        let mut read = cmd("GET");
        read.arg(bucket.marker());
        reads.add_command(read);
    }
    reads
}

/// What the answers to it say, bucket by bucket; the error says why a server did not tell.
pub(super) fn read(answers: Vec<Value>) -> Result<Vec<Found>, String> {
    answers
        .into_iter()
        .map(|answer| match answer {
            Value::Nil => Ok(Found::Nothing),
            Value::BulkString(marker) => Ok(Found::Marker(marker)),
            Value::ServerError(error) => match error.code() {
                // A key of another type: something that is no marker.
                "WRONGTYPE" => Ok(Found::Marker(Vec::new())),
                "MOVED" | "ASK" => Ok(Found::Elsewhere),
                _ => Err(error.to_string()),
            },
            _ => Err("the server answered something else".into()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_survey_says_how_much_is_missing() {
        let mut survey = Survey::default();
        for _ in 0..1000 {
            survey.add(Found::Marker(b"one".to_vec()));
        }
        assert_eq!(survey.fault(), None);
        for _ in 0..24 {
            survey.add(Found::Nothing);
        }
        let fault = survey.fault().expect("a fault");
        assert!(fault.starts_with("24 of the 1024 buckets have no marker"), "{fault}");
        survey.add(Found::Elsewhere);
        survey.add(Found::Marker(b"two".to_vec()));
        let fault = survey.fault().expect("a fault");
        assert!(fault.contains("1 of the 1025 buckets have the marker of another"), "{fault}");
    }
}
