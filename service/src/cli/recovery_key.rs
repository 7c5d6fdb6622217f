//! Showing a recovery key, which is possible only once.

use prost_types::Timestamp;
use twinlock_client::Client;
use twinlock_client::proto::AcknowledgeRecoveryKeyRequest;

use super::{Console, Failure};

/// Prints a recovery key and what to do with it.
pub(super) fn show(console: &Console, recovery_key: &str) -> Result<(), Failure> {
    console.say(&format!(
        "\n{}\n\n\
         This is shown now and never again. Write it down, or put it in a password manager, but\n\
         not on the phone that has the authenticator app. Without the app it is the only way in;\n\
         it works once, and using it gives you the next one.\n",
        boxed(recovery_key)
    ))
}

/// Records that the key is stored safely, where the user says so. Returns whether they did.
///
/// A key that nobody acknowledged is no failure: it works all the same.
pub(super) async fn acknowledge(
    client: &Client,
    console: &Console,
    user_id: &str,
    recovery_key_create_time: Option<Timestamp>,
    yes: bool,
) -> Result<bool, Failure> {
    if !yes && !console.confirm("Have you stored the recovery key safely?").await? {
        console.note(
            "The recovery key works, but counts as not stored: the user is reminded of it at the \
             next login.",
        )?;
        return Ok(false);
    }
    let user_id = user_id.to_owned();
    let request = AcknowledgeRecoveryKeyRequest { user_id, recovery_key_create_time };
    if let Err(error) = client.acknowledge_recovery_key(request).await {
        console.note(&format!(
            "The recovery key works, but that it is stored could not be recorded: {error}"
        ))?;
        return Ok(false);
    }
    Ok(true)
}

fn boxed(recovery_key: &str) -> String {
    let title = "Recovery key";
    let width = recovery_key.chars().count().max(title.len()) + 6;
    let line = "─".repeat(width);
    let row = |text: &str| format!("│   {text:<0$}│", width - 3);
    [format!("┌{line}┐"), row(title), row(""), row(recovery_key), format!("└{line}┘")].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_is_straight() {
        let drawing = boxed("ABCDE-FGHJK-MNPQR-STVWX-YZ012");
        assert!(drawing.contains("│   ABCDE-FGHJK-MNPQR-STVWX-YZ012   │"), "{drawing}");
        let widths: Vec<_> = drawing.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{drawing}");
    }
}
