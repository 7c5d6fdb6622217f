//! Which path and method stand for which call.

use super::failure::Failure;
use crate::config::Role;
use http::Method;

/// Where a call is to be found.
pub struct Route {
    pub method: Method,
    /// The path, with `{user_id}` for the user's id in percent-encoding.
    pub path: &'static str,
    pub operation: Operation,
}

/// The calls, by their names in the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    OpenApi,
    DescribeUser,
    Enroll,
    ConfirmEnrollment,
    Unenroll,
    EvaluateLogin,
    Verify,
    Elevate,
    CheckElevation,
    DropElevation,
    RotateRecoveryKey,
    AcknowledgeRecoveryKey,
    SetPassword,
    ClearPassword,
    UnenrollUser,
    ClearBackoff,
    ImportEnrollment,
    WatchEvents,
}

const fn route(method: Method, path: &'static str, operation: Operation) -> Route {
    Route { method, path, operation }
}

/// All routes.
pub static ROUTES: [Route; 19] = [
    route(Method::GET, "/openapi.json", Operation::OpenApi),
    route(Method::GET, "/v1/users/{user_id}", Operation::DescribeUser),
    route(Method::POST, "/v1/users/{user_id}/enrollment", Operation::Enroll),
    route(Method::POST, "/v1/users/{user_id}/enrollment/confirm", Operation::ConfirmEnrollment),
    route(Method::DELETE, "/v1/users/{user_id}/enrollment", Operation::Unenroll),
    route(Method::POST, "/v1/users/{user_id}/login", Operation::EvaluateLogin),
    route(Method::POST, "/v1/users/{user_id}/verify", Operation::Verify),
    route(Method::POST, "/v1/users/{user_id}/elevation", Operation::Elevate),
    route(Method::POST, "/v1/users/{user_id}/elevation/check", Operation::CheckElevation),
    route(Method::DELETE, "/v1/users/{user_id}/elevation", Operation::DropElevation),
    route(Method::POST, "/v1/users/{user_id}/recovery-key", Operation::RotateRecoveryKey),
    route(
        Method::POST,
        "/v1/users/{user_id}/recovery-key/acknowledge",
        Operation::AcknowledgeRecoveryKey,
    ),
    route(Method::PUT, "/v1/users/{user_id}/password", Operation::SetPassword),
    route(Method::DELETE, "/v1/users/{user_id}/password", Operation::ClearPassword),
    route(Method::DELETE, "/v1/admin/users/{user_id}/enrollment", Operation::UnenrollUser),
    route(Method::DELETE, "/v1/admin/users/{user_id}/backoff", Operation::ClearBackoff),
    route(Method::POST, "/v1/admin/users/{user_id}/import", Operation::ImportEnrollment),
    route(Method::GET, "/v1/admin/events", Operation::WatchEvents),
    // The path and the answers of Atlassian's endpoint, for the scripts that were written for it.
    route(Method::DELETE, "/rest/tsv/latest/totp/unenroll/user/{user_id}", Operation::UnenrollUser),
];

impl Operation {
    /// The name of the call in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenApi => "OpenApi",
            Self::DescribeUser => "DescribeUser",
            Self::Enroll => "Enroll",
            Self::ConfirmEnrollment => "ConfirmEnrollment",
            Self::Unenroll => "Unenroll",
            Self::EvaluateLogin => "EvaluateLogin",
            Self::Verify => "Verify",
            Self::Elevate => "Elevate",
            Self::CheckElevation => "CheckElevation",
            Self::DropElevation => "DropElevation",
            Self::RotateRecoveryKey => "RotateRecoveryKey",
            Self::AcknowledgeRecoveryKey => "AcknowledgeRecoveryKey",
            Self::SetPassword => "SetPassword",
            Self::ClearPassword => "ClearPassword",
            Self::UnenrollUser => "UnenrollUser",
            Self::ClearBackoff => "ClearBackoff",
            Self::ImportEnrollment => "ImportEnrollment",
            Self::WatchEvents => "WatchEvents",
        }
    }

    /// The role that its callers need; `None` where anybody may call.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::OpenApi => None,
            Self::UnenrollUser
            | Self::ClearBackoff
            | Self::ImportEnrollment
            | Self::WatchEvents => Some(Role::Admin),
            _ => Some(Role::Product),
        }
    }

    /// Whether it is done by an administrator, whom a header names.
    pub fn needs_administrator(self) -> bool {
        matches!(self, Self::UnenrollUser | Self::ClearBackoff)
    }
}

/// The call that a request is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub operation: Operation,
    /// The user's id as the path has it, in percent-encoding.
    pub user: String,
}

/// Finds the call. The path is split before anything in it is decoded, so that an encoded slash belongs
/// to an id.
pub fn find(method: &Method, path: &str) -> Result<Found, Failure> {
    let mut others = Vec::new();
    for route in &ROUTES {
        match user_in(route.path, path) {
            None => {}
            Some(user) if route.method == *method => {
                return Ok(Found { operation: route.operation, user: user.to_owned() });
            }
            Some(_) => others.push(route.method.clone()),
        }
    }
    Err(if others.is_empty() { Failure::no_route() } else { Failure::no_method(&others) })
}

/// The user's id in a path of this form, which is empty where the form has none; `None` for others.
fn user_in<'p>(form: &str, path: &'p str) -> Option<&'p str> {
    let mut user = "";
    let mut segments = path.split('/');
    for expected in form.split('/') {
        let segment = segments.next()?;
        if expected == "{user_id}" {
            user = segment;
        } else if expected != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_encoded_and_whole() {
        for (path, user) in [
            ("/v1/users/alice/verify", "alice"),
            ("/v1/users/a%2Fb/verify", "a%2Fb"),
            ("/v1/users//verify", ""),
            ("/v1/users/verify/verify", "verify"),
            ("/v1/users/../verify", ".."),
        ] {
            let found = find(&Method::POST, path).ok().expect(path);
            assert_eq!(found, Found { operation: Operation::Verify, user: user.into() });
        }
    }

    #[test]
    fn nothing_else_is_a_route() {
        for path in [
            "",
            "/",
            "//",
            "/v1",
            "/v1/users",
            "/v1/users/alice/verify/",
            "/v1/users/alice/Verify",
            "/v1/users/alice/verif%79",
            "/v1/users/a/b/verify",
            "/v1//users/alice/verify",
            "v1/users/alice/verify",
            "*",
        ] {
            assert!(find(&Method::POST, path).is_err(), "{path}");
        }
        assert!(find(&Method::GET, "/v1/users/alice/verify").is_err());
    }

    #[test]
    fn no_path_stands_for_two_calls_of_one_method() {
        for (index, route) in ROUTES.iter().enumerate() {
            for other in &ROUTES[..index] {
                assert!(route.method != other.method || route.path != other.path, "{}", route.path);
            }
        }
    }
}
