//! The command line. Calls that a command makes go through that command, as a script runs it; the others go
//! through gRPC, so that the life goes on.

use super::{Grpc, Reach, Refusal, Runner, Scenario, api};
use crate::{Server, twinlock};
use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::process::{Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::Semaphore;

/// The methods that a command calls for whoever types it. `enroll` and `unenroll` call several, in a session of
/// their own, and `import` reports on a file: tests/first_try.rs and tests/import run those.
const COMMANDS: [&str; 5] = ["DescribeUser", "Elevate", "EraseUser", "ResetUser", "Verify"];

/// Commands that run at the same time. More of them would only wait for each other.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(8));

/// Commands for a server.
#[derive(Clone)]
pub struct Cli {
    address: String,
    grpc: Grpc,
}

impl Runner for Cli {
    const NAME: &str = "cli";

    fn reach(scenario: &Scenario) -> Reach {
        let methods: BTreeSet<&str> = scenario.calls().map(|call| &*call.method).collect();
        let (has, lacks): (Vec<&str>, Vec<&str>) =
            methods.into_iter().partition(|method| COMMANDS.contains(method));
        match (&has[..], &lacks[..]) {
            (_, []) => Reach::Whole,
            ([], lacks) => Reach::None(format!("no command for {}", lacks.join(", "))),
            (_, lacks) => Reach::Part(format!("no command for {}", lacks.join(", "))),
        }
    }

    async fn connect(server: &Server) -> Result<Self> {
        Ok(Self { address: server.address.clone(), grpc: Grpc::connect(server).await? })
    }

    async fn call(
        &self,
        name: &str,
        token: Option<&str>,
        fields: Map<String, Value>,
    ) -> Result<Result<Value, Refusal>> {
        let Some(typed) = typed(name, &fields) else {
            return self.grpc.call(name, token, fields).await;
        };
        let output = run(&typed, &self.address, token).await?;
        end(name, &output).with_context(|| format!("{output:?}"))
    }
}

/// What is typed for a call.
struct Typed {
    arguments: Vec<String>,
    /// What the command reads.
    proof: String,
}

/// How a call is typed; `None` where it cannot be.
fn typed(name: &str, fields: &Map<String, Value>) -> Option<Typed> {
    let mut left = fields.clone();
    let mut take = |field: &str| match left.remove(field) {
        Some(Value::String(text)) => Some(text),
        // A message of one field.
        Some(Value::Object(message)) if message.len() == 1 => {
            message.values().next().and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    };
    let user = take("userId")?;
    let mut arguments = Vec::new();
    let mut proof = String::new();
    match name {
        "DescribeUser" => arguments.push("status".to_owned()),
        "EraseUser" => arguments.extend(["erase".into(), "--yes".into()]),
        "ResetUser" => {
            arguments.extend(["reset".into(), "--yes".into(), format!("--why={}", take("why")?)]);
        }
        "Verify" | "Elevate" => {
            arguments.push(name.to_lowercase());
            let session = take("sessionId").map(|session| format!("--session={session}"));
            if session.is_none() && name == "Elevate" {
                return None;
            }
            arguments.extend(session);
            if let Some(how) = take("asserted") {
                arguments.push(format!("--asserted={how}"));
            } else if let Some(password) = take("password") {
                arguments.push("--password".into());
                proof = line(password)?;
            } else {
                // The command tells codes and keys apart by their form.
                let code = take("totpCode").filter(|code| is_code(code));
                let key = take("recoveryKey").filter(|key| !is_code(&key.replace(' ', "")));
                proof = line(code.or(key)?)?;
            }
        }
        _ => return None,
    }
    arguments.extend(["--".into(), user]);
    let can_be_typed = arguments.iter().all(|argument| !argument.contains('\0'));
    (left.is_empty() && can_be_typed).then_some(Typed { arguments, proof })
}

fn is_code(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && (1..25).contains(&text.len())
}

/// A text that can be typed in a line of its own.
fn line(text: String) -> Option<String> {
    (!text.is_empty() && !text.contains(['\r', '\n'])).then_some(text)
}

async fn run(typed: &Typed, address: &str, token: Option<&str>) -> Result<Output> {
    let _turn = TURNS.acquire().await?;
    let mut command = twinlock();
    command.args(&typed.arguments[..1]).args(["--json", "--address", address]);
    command.args(&typed.arguments[1..]);
    command.envs(token.map(|token| ("TWINLOCK_TOKEN", token)));
    let mut command = Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("a pipe")?;
    // It may have failed already, without reading.
    let _ = input.write_all(format!("{}\n", typed.proof).as_bytes()).await;
    drop(input);
    Ok(child.wait_with_output().await?)
}

/// How a call ended: what the command printed last, in the names of the API.
fn end(name: &str, output: &Output) -> Result<Result<Value, Refusal>> {
    let printed = std::str::from_utf8(&output.stdout)?.lines().last().context("it said nothing")?;
    let printed: Value = serde_json::from_str(printed)?;
    if output.status.success() {
        return Ok(Ok(api::complete(&api::method(name)?, &printed)?));
    }
    let text = |name: &str| printed[name].as_str().map(str::to_owned);
    Ok(Err(Refusal {
        code: text("code").context("no code")?,
        reason: text("reason").context("no reason")?,
        message: text("message").context("no message")?,
        retry_after: printed["retry_after_ms"].as_u64().map(Duration::from_millis),
        fields: text("field").into_iter().collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_command_cannot_say_is_left_to_grpc() {
        let typed = |name: &str, fields: Value| {
            typed(name, fields.as_object().expect("an object"))
                .map(|typed| (typed.arguments.join(" "), typed.proof))
        };
        let said = |arguments: &str, proof: &str| Some((arguments.to_owned(), proof.to_owned()));
        let proof = json!({ "userId": "a", "sessionId": "s", "totpCode": "123456" });
        assert_eq!(typed("Verify", proof), said("verify --session=s -- a", "123456"));
        let password = json!({ "userId": "a", "sessionId": "s", "password": { "password": "x" } });
        assert_eq!(typed("Elevate", password), said("elevate --session=s --password -- a", "x"));
        for fields in [
            json!({ "userId": "a", "totpCode": "12345x" }),
            json!({ "userId": "a", "recoveryKey": "123456" }),
            json!({ "userId": "a", "totpCode": "123456", "requestId": "a repeat is a repeat" }),
            json!({ "userId": "a\0", "totpCode": "123456" }),
            json!({ "userId": "a" }),
        ] {
            assert_eq!(typed("Verify", fields.clone()), None, "{fields}");
        }
        assert_eq!(typed("Enroll", json!({ "userId": "a", "sessionId": "s" })), None);
    }
}
