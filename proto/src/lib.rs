//! The Twinlock API, version 1: its messages, its clients and its server traits, generated from
//! the protobuf files beside this crate.
//!
//! A message that holds a secret, a code, a key, a password, a session id or a request id prints
//! as its name alone, so that no log line or panic message can give one away.
#![deny(missing_docs)]

pub mod codec;

use tonic::Code;

/// Package `twinlock.v1`. The field comments are those of the protobuf files.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("twinlock.v1");

    include!(concat!(env!("OUT_DIR"), "/clients/twinlock.v1.rs"));
}

/// The compiled protobuf files with their imports, as an encoded `google.protobuf.FileDescriptorSet`:
/// what server reflection serves.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The names of the methods of all services, without their packages.
pub const METHODS: &[&str] = &include!(concat!(env!("OUT_DIR"), "/methods.rs"));

/// The seconds of 9999-12-31T23:59:59Z, the last that a protobuf timestamp may hold. As the end of a block
/// it stands for "never": only an administrator ends it.
pub const NEVER_SECONDS: i64 = 253_402_300_799;

/// The name of a code in the gRPC specification.
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

macro_rules! redact {
    ($message:ty) => {
        impl std::fmt::Debug for $message {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let path = stringify!($message);
                let name = path.rsplit("::").next().unwrap_or(path).trim();
                write!(formatter, "{name} {{ .. }}")
            }
        }
    };
}

include!(concat!(env!("OUT_DIR"), "/redacted.rs"));

#[cfg(test)]
mod tests {
    use super::v1;

    #[test]
    fn a_message_with_a_secret_prints_its_name_alone() {
        let request = v1::VerifyRequest {
            user_id: "alice".into(),
            session_id: "session-4711".into(),
            credential: Some(v1::verify_request::Credential::TotpCode("373416".into())),
            request_id: "0123456789abcdef".into(),
            client: None,
        };
        assert_eq!(format!("{request:?}"), "VerifyRequest { .. }");
        assert_eq!(format!("{:?}", request.credential), "Some(Credential { .. })");

        let answer = v1::EnrollResponse { secret: "JBSWY3DP".into(), ..Default::default() };
        assert_eq!(format!("{answer:#?}"), "EnrollResponse { .. }");
    }

    #[test]
    fn a_message_without_one_prints_in_full() {
        let request = v1::DescribeUserRequest { user_id: "alice".into() };
        assert_eq!(format!("{request:?}"), r#"DescribeUserRequest { user_id: "alice" }"#);
    }

    #[test]
    fn every_message_that_can_hold_a_secret_is_redacted() {
        let printed = [
            format!("{:?}", v1::EnrollRequest::default()),
            format!("{:?}", v1::EnrollResponse::default()),
            format!("{:?}", v1::ConfirmEnrollmentRequest::default()),
            format!("{:?}", v1::ConfirmEnrollmentResponse::default()),
            format!("{:?}", v1::UnenrollRequest::default()),
            format!("{:?}", v1::EvaluateLoginRequest::default()),
            format!("{:?}", v1::VerifyRequest::default()),
            format!("{:?}", v1::VerifyResponse::default()),
            format!("{:?}", v1::ElevateRequest::default()),
            format!("{:?}", v1::ElevateResponse::default()),
            format!("{:?}", v1::PasswordCredential::default()),
            format!("{:?}", v1::CheckElevationRequest::default()),
            format!("{:?}", v1::DropElevationRequest::default()),
            format!("{:?}", v1::RotateRecoveryKeyRequest::default()),
            format!("{:?}", v1::RotateRecoveryKeyResponse::default()),
            format!("{:?}", v1::SetPasswordRequest::default()),
            format!("{:?}", v1::UnenrollUserRequest::default()),
            format!("{:?}", v1::ClearBackoffRequest::default()),
            format!("{:?}", v1::ImportEnrollmentRequest::default()),
            format!("{:?}", v1::ImportEnrollmentResponse::default()),
            format!("{:?}", v1::BackupResponse::default()),
            format!("{:?}", v1::EraseUserRequest::default()),
            format!("{:?}", v1::ResetUserRequest::default()),
        ];
        for text in printed {
            assert!(text.ends_with(" { .. }"), "{text}");
        }
    }
}
