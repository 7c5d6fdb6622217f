//! `twinlock import`, with a sample of each source and the real server.

mod files;
mod runs;
mod sources;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use twinlock_core::totp::Parameters;
use twinlock_proto::v1::verify_request::Credential;
use twinlock_proto::v1::{DescribeUserRequest, DescribeUserResponse};
use twinlock_tests::{Client, Server, code_at, twinlock, verify_with};

/// A sample of this directory.
pub fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/samples").join(name)
}

/// The command for a file, as a client of this server.
pub fn command(address: &str, file: &Path) -> Command {
    let mut command = twinlock();
    command.arg("import").arg(file).args(["--address", address]);
    command
}

/// What a run printed and ended with.
pub struct Run {
    pub status: i32,
    pub output: String,
    pub errors: String,
}

impl Run {
    pub fn of(command: &mut Command) -> Self {
        // A report may be longer than what a pipe holds, so it is read while it comes.
        let ended = command.stdin(Stdio::null()).output().expect("it runs");
        Self::ended(ended)
    }

    pub fn ended(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        let status = output.status.code().expect("it was not killed");
        Self { status, output: text(output.stdout), errors: text(output.stderr) }
    }

    /// The lines of JSON that it printed.
    pub fn json(&self) -> Vec<serde_json::Value> {
        let lines = self.output.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{error}: {}", self.output))
    }

    /// A count of its summary.
    pub fn count(&self, name: &str) -> u64 {
        let lines = self.json();
        let summary = &lines.last().expect("a summary")["summary"];
        summary[name].as_u64().unwrap_or_else(|| panic!("{name}: {summary}"))
    }
}

/// What the server knows of a user.
pub async fn describe(client: &mut Client, user: &str) -> DescribeUserResponse {
    let request = DescribeUserRequest { user_id: user.into() };
    client.describe_user(request).await.expect("an answer").into_inner()
}

/// Signs a user in with the code that their app shows now.
pub async fn sign_in(server: &Server, user: &str, secret: &[u8], parameters: &Parameters) {
    let secret = data_encoding::BASE32_NOPAD.encode(secret);
    let mut client = server.client().await;
    let code = Credential::TotpCode(code_at(&secret, parameters, 0));
    if let Err(status) = client.verify(verify_with(user, code)).await {
        panic!("{user}, {parameters:?}: {status}");
    }
}
