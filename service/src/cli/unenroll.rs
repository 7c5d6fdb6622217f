//! `twinlock unenroll USER`.

use clap::Args;
use twinlock_client::proto::{DropElevationRequest, ElevateRequest, UnenrollRequest};
use twinlock_client::{Client, Error};

use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::proof::SecondFactor;
use super::{Console, Failure, fresh_session_id, json, recovery_key};

/// Turn two-step verification off for a user, by the user's own proof.
///
/// The user proves it with a code or the recovery key, which is never an argument: it is asked for,
/// or read from standard input.
#[derive(Debug, Args)]
pub struct UnenrollArguments {
    /// The user's id in the product
    #[arg(value_name = "USER")]
    user_id: String,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn unenroll(
    arguments: UnenrollArguments,
    console: &Console,
) -> Result<(), Failure> {
    let client = arguments.connection.client(DEFAULT_TIMEOUT)?;
    let user_id = arguments.user_id;
    let session_id = fresh_session_id();
    let proof = SecondFactor::ask(console, "The").await?;
    let elevation = client
        .elevate(ElevateRequest {
            user_id: user_id.clone(),
            session_id: session_id.clone(),
            credential: Some(proof.into()),
            ..Default::default()
        })
        .await?;
    if let Err(error) = unenroll_in(&client, &user_id, &session_id).await {
        // The proof is spent all the same, and the key that took its place is in force.
        if !elevation.recovery_key.is_empty() {
            recovery_key::show(console, &elevation.recovery_key)?;
            console.emit(&json::elevated(&elevation))?;
        }
        // It lapses by itself where this fails.
        let _ = client
            .drop_elevation(DropElevationRequest { user_id, session_id, all_sessions: false })
            .await;
        return Err(error.into());
    }
    console.emit(&serde_json::json!({ "user_id": user_id, "enrolled": false }))?;
    console.say(&format!(
        "Two-step verification is off for {user_id}. The entry in the app and the recovery key are \
         of no more use; delete them."
    ))
}

async fn unenroll_in(client: &Client, user_id: &str, session_id: &str) -> Result<(), Error> {
    let (user_id, session_id) = (user_id.to_owned(), session_id.to_owned());
    client.unenroll(UnenrollRequest { user_id, session_id, ..Default::default() }).await?;
    Ok(())
}
