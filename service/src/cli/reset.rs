//! `twinlock reset USER`.

use clap::Args;
use twinlock_client::proto::ResetUserRequest;

use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::{Console, Failure};

/// Turn two-step verification off for a user on an operator's word: the way out when the last
/// administrator lost everything.
#[derive(Debug, Args)]
pub struct ResetArguments {
    /// The user's id in the product
    #[arg(value_name = "USER")]
    user_id: String,
    /// Why, for the audit trail
    #[arg(long, value_name = "SENTENCE")]
    why: String,
    /// Do not ask whether it is meant
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn reset(arguments: ResetArguments, console: &Console) -> Result<(), Failure> {
    let ResetArguments { user_id, why, yes, connection } = arguments;
    let question = format!("Let {user_id} log in without a second step from now on?");
    console.require(yes, &question).await?;
    let request = ResetUserRequest { user_id: user_id.clone(), why, ..Default::default() };
    connection.client(DEFAULT_TIMEOUT)?.reset_user(request).await?;
    console.emit(&serde_json::json!({ "user_id": user_id, "enrolled": false }))?;
    console.say(&format!("Two-step verification is off for {user_id}, who may enroll anew."))
}
