//! From a failure to a gRPC status: code, ErrorInfo, RetryInfo, BadRequest and the plain trailers.

use crate::callers::Stranger;
use crate::errors;
use std::time::Duration;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};
use twinlock_core::{Malformed, Reason};
use twinlock_engine::Error;

/// The domain of every ErrorInfo.
const DOMAIN: &str = "twinlock";

/// The status of a failed call. What the caller need not know goes to the log alone.
pub fn from_error(error: &Error) -> Status {
    errors::log(error);
    match error.reason() {
        Some(reason) => {
            from_reason(reason, &error.message(), error.retry_after(), error.malformed())
        }
        None => Status::new(Code::Internal, error.message()),
    }
}

/// The status of a field that is not of its form.
pub fn from_malformed(malformed: Malformed) -> Status {
    from_error(&malformed.into())
}

/// The status of a caller that the API does not let in.
pub fn from_stranger(stranger: Stranger) -> Status {
    from_reason(stranger.reason(), &stranger.to_string(), None, None)
}

/// The status of long work that would be too much beside what is under way.
pub fn too_much_work() -> Status {
    let message = "Too many backups and examinations at once. Try again when one has ended.";
    from_reason(Reason::Overloaded, message, Some(Duration::from_secs(10)), None)
}

fn from_reason(
    reason: Reason,
    message: &str,
    retry_after: Option<Duration>,
    malformed: Option<&Malformed>,
) -> Status {
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, []);
    let mut trailers = MetadataMap::new();
    trailers.insert("twinlock-reason", MetadataValue::from_static(reason.as_str()));
    if let Some(wait) = retry_after {
        let millis = errors::wait_millis(wait);
        details.set_retry_info(Some(Duration::from_millis(millis)));
        trailers.insert("twinlock-retry-after-ms", millis.into());
    }
    if let Some(malformed) = malformed {
        details.add_bad_request_violation(malformed.field, malformed.problem);
    }
    let (code, _) = errors::statuses(reason);
    Status::with_error_details_and_metadata(code, message, details, trailers)
}
