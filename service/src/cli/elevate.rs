//! `twinlock elevate USER`.

use clap::Args;
use twinlock_client::proto::{
    AssertedCredential, ElevateRequest, PasswordCredential, elevate_request::Credential,
};

use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::proof::SecondFactor;
use super::{Console, Failure, json, recovery_key, time};

/// Prove a user's identity for one login session.
///
/// The session may then do sensitive things for a while. The proof is a code or the recovery key,
/// unless an option says otherwise. Codes, keys and passwords are never arguments: they are asked
/// for, or read from standard input.
#[derive(Debug, Args)]
pub struct ElevateArguments {
    /// The user's id in the product
    #[arg(value_name = "USER")]
    user_id: String,
    /// The login session
    #[arg(long, value_name = "ID")]
    session: String,
    /// Prove it with the user's password, which is asked for; before enrollment only
    #[arg(long, conflicts_with = "asserted")]
    password: bool,
    /// Give your word for it, and say how you know: saml, ldap; before enrollment only
    #[arg(long, value_name = "HOW")]
    asserted: Option<String>,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn elevate(arguments: ElevateArguments, console: &Console) -> Result<(), Failure> {
    let client = arguments.connection.client(DEFAULT_TIMEOUT)?;
    let user_id = arguments.user_id.as_str();
    let credential = if let Some(how) = arguments.asserted {
        Credential::Asserted(AssertedCredential { how })
    } else if arguments.password {
        let password = console.ask_hidden(&format!("Password of {user_id}:")).await?;
        Credential::Password(PasswordCredential {
            password: password.to_string(),
            ..Default::default()
        })
    } else {
        SecondFactor::ask(console, "The").await?.into()
    };
    let answer = client
        .elevate(ElevateRequest {
            user_id: user_id.to_owned(),
            session_id: arguments.session,
            credential: Some(credential),
            ..Default::default()
        })
        .await?;
    console.emit(&json::elevated(&answer))?;
    let expire_time = answer.elevation.as_ref().and_then(|elevation| elevation.expire_time);
    match expire_time {
        Some(expire_time) => {
            console.say(&format!("Elevated until {}.", time::describe(&expire_time)))?;
        }
        None => console.say("Elevated.")?,
    }
    if !answer.recovery_key.is_empty() {
        recovery_key::show(console, &answer.recovery_key)?;
        let create_time = answer.recovery_key_create_time;
        recovery_key::acknowledge(&client, console, user_id, create_time, false).await?;
    }
    Ok(())
}
