use tonic_types::ErrorDetails;

use super::*;

const ADDRESS: &str = "http://127.0.0.1:6238";

#[test]
fn details_are_read() {
    let mut details = ErrorDetails::with_error_info("BACKOFF", "twinlock", []);
    details.set_retry_info(Some(Duration::from_millis(3_500)));
    let status = Status::with_error_details(Code::ResourceExhausted, "Wait 4 seconds.", details);
    let error = Error::from_status(&status, ADDRESS);
    assert_eq!(error.reason, Reason::Backoff);
    assert_eq!(error.family(), Family::Blocked);
    assert_eq!(error.code_name(), "RESOURCE_EXHAUSTED");
    assert_eq!(error.retry_after, Some(Duration::from_millis(3_500)));
    assert_eq!(error.to_string(), "Wait 4 seconds.");
}

#[test]
fn violations_are_read() {
    let mut details = ErrorDetails::with_error_info("MALFORMED_CODE", "twinlock", []);
    details.add_bad_request_violation("totp_code", "6 digits");
    let status = Status::with_error_details(Code::InvalidArgument, "No code.", details);
    let error = Error::from_status(&status, ADDRESS);
    assert_eq!(
        error.violations,
        [FieldViolation { field: "totp_code".into(), description: "6 digits".into() }]
    );
}

#[test]
fn plain_trailers_stand_in_for_details() {
    let mut status = Status::unauthenticated("Used.");
    status.metadata_mut().insert("twinlock-reason", "CODE_ALREADY_USED".parse().unwrap());
    status.metadata_mut().insert("twinlock-retry-after-ms", "12000".parse().unwrap());
    let error = Error::from_status(&status, ADDRESS);
    assert_eq!(error.reason, Reason::CodeAlreadyUsed);
    assert_eq!(error.family(), Family::Proof);
    assert_eq!(error.retry_after, Some(Duration::from_secs(12)));
}

#[test]
fn details_of_another_domain_are_not_twinlocks() {
    let details = ErrorDetails::with_error_info("BACKOFF", "proxy.example", []);
    let status = Status::with_error_details(Code::PermissionDenied, "No.", details);
    let error = Error::from_status(&status, ADDRESS);
    assert_eq!(error.reason.as_str(), "PERMISSION_DENIED");
    assert_eq!(error.family(), Family::Caller);
}

#[test]
fn a_reason_of_a_later_release_keeps_its_name() {
    let details = ErrorDetails::with_error_info("COLD_FEET", "twinlock", []);
    let status = Status::with_error_details(Code::FailedPrecondition, "Later.", details);
    let error = Error::from_status(&status, ADDRESS);
    assert_eq!(error.reason, Reason::Other("COLD_FEET".into()));
    assert_eq!(error.family(), Family::State);
}

#[test]
fn a_proxy_without_a_server_behind_it_is_unavailable() {
    let error = Error::from_status(&Status::unavailable("no healthy upstream"), ADDRESS);
    assert_eq!(error.reason, Reason::Unavailable);
    assert!(error.message.contains("no healthy upstream"), "{error}");
    assert!(error.message.contains(ADDRESS), "{error}");
}

#[test]
fn an_answer_that_cannot_be_read_stays_internal() {
    let error = Error::from_status(&Status::internal("invalid wire type"), ADDRESS);
    assert_eq!(error.reason.as_str(), "INTERNAL");
    assert_eq!(error.family(), Family::Internal);
}

#[test]
fn a_timeout_is_a_deadline_however_it_is_called() {
    for status in [Status::cancelled("Timeout expired"), Status::deadline_exceeded("")] {
        let error = Error::from_status(&status, ADDRESS);
        assert_eq!(error.reason, Reason::DeadlineExceeded);
        assert_eq!(error.code, Code::DeadlineExceeded);
    }
}

#[test]
fn what_has_no_reason_is_no_word_of_the_rules() {
    let error = Error::from_status(&Status::resource_exhausted("message too large"), ADDRESS);
    assert_eq!(error.family(), Family::Unavailable);
    let details = ErrorDetails::with_error_info("COOL_DOWN", "twinlock", []);
    let status = Status::with_error_details(Code::ResourceExhausted, "Wait.", details);
    assert_eq!(Error::from_status(&status, ADDRESS).family(), Family::Blocked);
}

#[test]
fn a_refusal_in_the_process_says_what_the_server_says() {
    let error = Error::from(Refusal::CodeAlreadyUsed { retry_after: Duration::from_secs(7) });
    assert_eq!(error.reason, Reason::CodeAlreadyUsed);
    assert_eq!(error.code_name(), "UNAUTHENTICATED");
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    let error = Error::from(Malformed { field: "totp_code", problem: "must be digits" });
    assert_eq!((error.family(), error.code_name()), (Family::Proof, "INVALID_ARGUMENT"));
    assert_eq!(error.violations[0].field, "totp_code");
}

#[test]
fn names_round_trip() {
    for reason in Reason::ALL {
        assert_eq!(&Reason::from_name(reason.as_str()), reason);
    }
}
