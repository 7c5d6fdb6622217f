//! `twinlock status USER`.

use clap::Args;
use twinlock_client::proto::{Backoff, DescribeUserRequest, DescribeUserResponse};

use twinlock_proto::NEVER_SECONDS;

use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::{Console, Failure, json, time};

/// Show what is known of a user, which is no secret.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The user's id in the product
    #[arg(value_name = "USER")]
    user_id: String,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn status(arguments: StatusArguments, console: &Console) -> Result<(), Failure> {
    let client = arguments.connection.client(DEFAULT_TIMEOUT)?;
    let user_id = arguments.user_id;
    let user = client.describe_user(DescribeUserRequest { user_id: user_id.clone() }).await?;
    console.emit(&json::user(&user_id, &user))?;
    console.say(&description(&user_id, &user))
}

fn description(user_id: &str, user: &DescribeUserResponse) -> String {
    let mut rows = vec![("Two-step verification", enrolled(user))];
    if let Some(expire_time) = &user.pending_expire_time {
        let waits = format!("waits for its first code until {}", time::describe(expire_time));
        rows.push(("Pending enrollment", waits));
    }
    rows.push(("Recovery key", recovery_key(user)));
    let password = if user.has_password { "known" } else { "not known" };
    rows.push(("Password", password.to_owned()));
    rows.push(("Codes and keys", backoff(user.second_factor_backoff.as_ref())));
    rows.push(("Passwords", backoff(user.password_backoff.as_ref())));
    let rows = rows.iter().map(|(title, text)| format!("  {title:<23}{text}"));
    std::iter::once(user_id.to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
}

fn enrolled(user: &DescribeUserResponse) -> String {
    match (&user.enroll_time, user.enrolled) {
        (Some(enroll_time), true) => format!("on since {}", time::describe(enroll_time)),
        (None, true) => "on".into(),
        (_, false) => "off".into(),
    }
}

fn recovery_key(user: &DescribeUserResponse) -> String {
    let Some(create_time) = &user.recovery_key_create_time else {
        return "none".into();
    };
    let stored = match user.recovery_key_acknowledged {
        true => "stored safely",
        false => "nobody has said that it is stored safely",
    };
    format!("made {}; {stored}", time::describe(create_time))
}

fn backoff(backoff: Option<&Backoff>) -> String {
    let failures = backoff.map_or(0, |backoff| backoff.failures);
    let count = match failures {
        0 => return "no failed attempts".into(),
        1 => "1 failed attempt".into(),
        _ => format!("{failures} failed attempts"),
    };
    match backoff.and_then(|backoff| backoff.blocked_until.as_ref()) {
        Some(until) if until.seconds == NEVER_SECONDS => {
            format!("{count}; locked until an administrator clears it")
        }
        Some(until) => format!("{count}; blocked until {}", time::describe(until)),
        None => count,
    }
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn nobody_is_described() {
        let text = description("nobody", &DescribeUserResponse::default());
        assert_eq!(
            text,
            "nobody\n  \
             Two-step verification  off\n  \
             Recovery key           none\n  \
             Password               not known\n  \
             Codes and keys         no failed attempts\n  \
             Passwords              no failed attempts"
        );
    }

    #[test]
    fn a_blocked_user_is_described() {
        let time = Some(Timestamp { seconds: 1_767_323_045, nanos: 0 });
        let user = DescribeUserResponse {
            enrolled: true,
            enroll_time: time,
            recovery_key_create_time: time,
            second_factor_backoff: Some(Backoff { failures: 3, blocked_until: time }),
            ..Default::default()
        };
        let text = description("alice", &user);
        assert!(text.contains("on since 2026-01-02T03:04:05Z"), "{text}");
        assert!(text.contains("3 failed attempts; blocked until 2026-01-02T03:04:05Z"), "{text}");
        assert!(text.contains("nobody has said"), "{text}");
    }
}
