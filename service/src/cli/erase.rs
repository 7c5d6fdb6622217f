//! `twinlock erase USER`.

use clap::Args;
use twinlock_client::proto::EraseUserRequest;

use super::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use super::{Console, Failure};

/// Forget a user whom the product has deleted, so that a reused id inherits nothing.
#[derive(Debug, Args)]
pub struct EraseArguments {
    /// The user's id in the product
    #[arg(value_name = "USER")]
    user_id: String,
    /// Do not ask whether it is meant
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) connection: ConnectionArguments,
}

pub(super) async fn erase(arguments: EraseArguments, console: &Console) -> Result<(), Failure> {
    let EraseArguments { user_id, yes, connection } = arguments;
    let question = format!("Forget everything of {user_id}? This cannot be undone.");
    console.require(yes, &question).await?;
    let request = EraseUserRequest { user_id: user_id.clone(), ..Default::default() };
    connection.client(DEFAULT_TIMEOUT)?.erase_user(request).await?;
    console.emit(&serde_json::json!({ "user_id": user_id, "erased": true }))?;
    console.say(&format!("Everything of {user_id} is forgotten."))
}
