//! `twinlock verify USER`.

use clap::Args;
use twinlock_client::proto::VerifyRequest;

use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::proof::SecondFactor;
use super::{Console, Failure, json, recovery_key};

/// Check a user's code or recovery key.
///
/// The code or key is never an argument: it is asked for, or read from standard input.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The user's id in the product
    #[arg(value_name = "USER")]
    user_id: String,
    /// The login session, which the same proof elevates
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    session: String,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn verify(arguments: VerifyArguments, console: &Console) -> Result<(), Failure> {
    let client = arguments.connection.client(DEFAULT_TIMEOUT)?;
    let proof = SecondFactor::ask(console, "The").await?;
    let answer = client
        .verify(VerifyRequest {
            user_id: arguments.user_id.clone(),
            session_id: arguments.session,
            credential: Some(proof.into()),
            ..Default::default()
        })
        .await?;
    console.emit(&json::verification(&answer))?;
    console.say("Verified.")?;
    if !answer.recovery_key.is_empty() {
        recovery_key::show(console, &answer.recovery_key)?;
        let create_time = answer.recovery_key_create_time;
        let user_id = &arguments.user_id;
        recovery_key::acknowledge(&client, console, user_id, create_time, false).await?;
    }
    Ok(())
}
