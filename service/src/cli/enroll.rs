//! `twinlock enroll USER`.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use twinlock_client::proto::{
    AssertedCredential, ConfirmEnrollmentRequest, ConfirmEnrollmentResponse, DescribeUserRequest,
    DropElevationRequest, ElevateRequest, EnrollRequest, EnrollResponse, PasswordCredential,
    elevate_request::Credential,
};
use twinlock_client::{Client, Error, Reason};

use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::proof::{SecondFactor, code};
use super::{Console, Failure, fresh_session_id, json, recovery_key, time};

/// How many codes a person may try before the command gives up.
const MAXIMUM_TRIES: u32 = 3;

/// The longest wait that the command sits out.
const SHORT_WAIT: Duration = Duration::from_secs(60);

/// Set up an authenticator app for a user, with a QR code in the terminal.
///
/// Identity is proved first: with the current code or the recovery key where the user is enrolled
/// already, else with the user's password, else by your word. Codes, keys and passwords are never
/// arguments: they are asked for, or read from standard input, a line each.
///
/// With --json there is one object a line: the enrollment, then, once the first code was read from
/// standard input, the confirmation. Where a recovery key was used for proof, an object with the
/// next one goes before them.
#[derive(Debug, Args)]
pub struct EnrollArguments {
    /// The user's id in the product
    #[arg(value_name = "USER")]
    user_id: String,
    /// The account name that the app shows; the user's id otherwise
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    account_name: String,
    /// Say that the recovery key is stored safely, without being asked
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn enroll(arguments: EnrollArguments, console: &Console) -> Result<(), Failure> {
    let client = arguments.connection.client(DEFAULT_TIMEOUT)?;
    let session_id = fresh_session_id();
    elevate(&client, console, &arguments.user_id, &session_id).await?;
    let outcome = enroll_elevated(&arguments, &client, console, &session_id).await;
    // Nobody knows the session any more. It lapses by itself where this fails.
    let user_id = arguments.user_id;
    let _ = client
        .drop_elevation(DropElevationRequest { user_id, session_id, all_sessions: false })
        .await;
    outcome
}

async fn enroll_elevated(
    arguments: &EnrollArguments,
    client: &Client,
    console: &Console,
    session_id: &str,
) -> Result<(), Failure> {
    let user_id = arguments.user_id.as_str();
    let enrollment = client
        .enroll(EnrollRequest {
            user_id: user_id.to_owned(),
            session_id: session_id.to_owned(),
            account_name: arguments.account_name.clone(),
            ..Default::default()
        })
        .await?;
    console.emit(&json::enrollment(&enrollment))?;
    console.say(&instructions(&enrollment))?;

    let confirmation = confirm(client, console, user_id, session_id).await?;
    console.say("Two-step verification is on.")?;
    recovery_key::show(console, &confirmation.recovery_key)?;
    let create_time = confirmation.recovery_key_create_time;
    let acknowledged =
        recovery_key::acknowledge(client, console, user_id, create_time, arguments.yes).await;
    // The key must reach the script whatever became of the acknowledgment.
    console.emit(&json::confirmation(&confirmation, matches!(acknowledged, Ok(true))))?;
    acknowledged.map(|_| ())
}

async fn elevate(
    client: &Client,
    console: &Console,
    user_id: &str,
    session_id: &str,
) -> Result<(), Failure> {
    let user = client.describe_user(DescribeUserRequest { user_id: user_id.to_owned() }).await?;
    let credential = if user.enrolled {
        console.note(&format!("{user_id} is enrolled already: this changes the app."))?;
        SecondFactor::ask(console, "The current").await?.into()
    } else if user.has_password {
        let password = console.ask_hidden(&format!("Password of {user_id}:")).await?;
        Credential::Password(PasswordCredential {
            password: password.to_string(),
            ..Default::default()
        })
    } else {
        console.note(&format!(
            "No password of {user_id} is known: your word is taken that this is {user_id}."
        ))?;
        Credential::Asserted(AssertedCredential { how: "cli".into() })
    };
    let elevation = client
        .elevate(ElevateRequest {
            user_id: user_id.to_owned(),
            session_id: session_id.to_owned(),
            credential: Some(credential),
            ..Default::default()
        })
        .await?;
    if !elevation.recovery_key.is_empty() {
        console.note("That used the recovery key up. This one takes its place for now:")?;
        recovery_key::show(console, &elevation.recovery_key)?;
        console.emit(&json::elevated(&elevation))?;
    }
    Ok(())
}

/// Asks for the first code until it is right. A person may try again; a script gets the failure.
async fn confirm(
    client: &Client,
    console: &Console,
    user_id: &str,
    session_id: &str,
) -> Result<ConfirmEnrollmentResponse, Failure> {
    let mut tries = 0;
    loop {
        let typed = console.ask("The code that the app shows now:").await?;
        let request = ConfirmEnrollmentRequest {
            user_id: user_id.to_owned(),
            session_id: session_id.to_owned(),
            totp_code: code(&typed).to_string(),
            ..Default::default()
        };
        let error = match client.confirm_enrollment(request).await {
            Ok(confirmation) => return Ok(confirmation),
            Err(error) => error,
        };
        tries += u32::from(error.reason != Reason::Backoff);
        match wait_before_another_code(&error) {
            Some(wait) if console.is_conversation() && tries < MAXIMUM_TRIES => {
                console.note(&error.to_string())?;
                console.wait(wait).await?;
            }
            _ => return Err(error.into()),
        }
    }
}

/// How long to wait before another code makes sense; `None` where none does, or not soon.
fn wait_before_another_code(error: &Error) -> Option<Duration> {
    match error.reason {
        Reason::InvalidCode | Reason::MalformedCode => Some(Duration::ZERO),
        Reason::CodeAlreadyUsed | Reason::Backoff => {
            error.retry_after.filter(|wait| *wait <= SHORT_WAIT)
        }
        _ => None,
    }
}

/// The drawing in colors of its own: on a light terminal it would be inverted, and many apps do not read
/// that.
fn white_on_black(drawing: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return drawing.to_owned();
    }
    drawing.lines().map(|line| format!("\x1b[97;40m{line}\x1b[0m\n")).collect()
}

fn instructions(enrollment: &EnrollResponse) -> String {
    let drawing = match twinlock_core::qr::terminal(&enrollment.otpauth_uri) {
        Ok(drawing) => {
            format!("Scan this with an authenticator app:\n\n{}\nOr", white_on_black(&drawing))
        }
        Err(_) => "The QR code would be too large:".to_owned(),
    };
    let expiry = enrollment.expire_time.as_ref().map_or_else(String::new, |expire_time| {
        format!("It waits for its first code until {}.\n", time::describe(expire_time))
    });
    format!(
        "{drawing} type this key into the app:\n\n    {}\n\n{expiry}",
        grouped(&enrollment.secret)
    )
}

/// In groups of four, which are easier to type.
fn grouped(secret: &str) -> String {
    let characters: Vec<char> = secret.chars().collect();
    let groups: Vec<String> = characters.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_in_groups() {
        assert_eq!(grouped("GEZDGNBVGY3TQOJQ"), "GEZD GNBV GY3T QOJQ");
        assert_eq!(grouped("GEZDGN"), "GEZD GN");
    }

    #[test]
    fn the_instructions_hold_the_secret_and_the_time() {
        let text = instructions(&EnrollResponse {
            secret: "GEZDGNBVGY3TQOJQ".into(),
            otpauth_uri: "otpauth://totp/Acme:alice?secret=GEZDGNBVGY3TQOJQ&issuer=Acme".into(),
            expire_time: Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 0 }),
            ..Default::default()
        });
        assert!(text.contains("GEZD GNBV GY3T QOJQ"), "{text}");
        assert!(text.contains('█'), "{text}");
        assert!(text.contains("2026-01-02T03:04:05Z"), "{text}");
    }
}
