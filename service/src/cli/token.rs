//! `twinlock token`: tokens for callers.

use crate::config::{Caller, Config, Role};
use aws_lc_rs::digest::{SHA256, digest};
use clap::{Args, Subcommand};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use serde::Serialize;
use std::io::{self, Write};
use std::process::ExitCode;
use twinlock_engine::entropy;
use zeroize::Zeroizing;

/// What every token begins with, so that people and scanners of leaked secrets know it for one.
const PREFIX: &str = "twl_";

#[derive(Debug, Args)]
pub struct TokenArguments {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token, and the lines of the configuration file that let in whoever has it
    ///
    /// The token is shown once: the lines have its hash alone. Nothing is stored, and no server is asked.
    New(NewArguments),
}

#[derive(Debug, Args)]
struct NewArguments {
    /// The caller's name in the log and the audit trail; another entry may have it, as while a token is
    /// replaced
    name: String,
    /// What the caller may do; may be given several times
    #[arg(long, value_enum, default_value = "product")]
    role: Vec<Role>,
    /// Whose users the caller sees
    #[arg(long, default_value = "default")]
    namespace: String,
    /// Print JSON, in which `config` has the lines
    #[arg(long)]
    json: bool,
}

/// Runs the command. The exit status is 0, or 2 where no caller can be called so.
pub(super) fn token(arguments: TokenArguments) -> ExitCode {
    let TokenCommand::New(NewArguments { name, role, namespace, json }) = arguments.command;
    let token = new_token();
    let token_sha256 = HEXLOWER.encode(digest(&SHA256, token.as_bytes()).as_ref());
    let mut roles = role;
    roles.dedup();
    let caller =
        Caller { name, token_sha256: Some(token_sha256), roles, namespace, ..Caller::default() };
    let problems = Config { callers: vec![caller.clone()], ..Config::default() }.check();
    if !problems.is_empty() {
        for problem in problems {
            eprintln!("twinlock: {problem}");
        }
        return ExitCode::from(2);
    }
    match print(&caller, &token, json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twinlock: the token cannot be printed: {error}");
            ExitCode::from(3)
        }
    }
}

/// 256 random bits, in characters that need no quoting anywhere and are selected by a double click.
fn new_token() -> Zeroizing<String> {
    let bytes = Zeroizing::new(entropy::bytes::<32>());
    let mut text = Zeroizing::new(BASE32_NOPAD.encode(bytes.as_slice()));
    text.make_ascii_lowercase();
    Zeroizing::new(format!("{PREFIX}{}", *text))
}

fn print(caller: &Caller, token: &str, json: bool) -> io::Result<()> {
    let config = lines(caller).map_err(io::Error::other)?;
    let mut out = io::stdout();
    if json {
        let Caller { name, token_sha256, roles, namespace, .. } = caller;
        let object = serde_json::json!({
            "name": name,
            "token": token,
            "token_sha256": token_sha256,
            "roles": roles,
            "namespace": namespace,
            "config": config,
        });
        writeln!(out, "{object}")?;
    } else {
        writeln!(out, "The token of {}, shown now and never again:\n\n    {token}\n", caller.name)?;
        writeln!(out, "Write this into the configuration file of the server:\n\n{config}")?;
    }
    out.flush()
}

/// The caller as the configuration file has it.
fn lines(caller: &Caller) -> Result<String, toml::ser::Error> {
    #[derive(Serialize)]
    struct File<'a> {
        caller: [Entry<'a>; 1],
    }
    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        token_sha256: &'a str,
        roles: &'a [Role],
        namespace: &'a str,
    }
    let entry = Entry {
        name: &caller.name,
        token_sha256: caller.token_sha256.as_deref().unwrap_or_default(),
        roles: &caller.roles,
        namespace: &caller.namespace,
    };
    toml::to_string(&File { caller: [entry] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, another) = (new_token(), new_token());
        assert_ne!(one, another);
        // 256 bits at 5 a character.
        assert_eq!(one.len(), PREFIX.len() + 52);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{one:?}");
    }

    #[test]
    fn the_lines_are_read_as_the_caller_that_they_are_of() {
        let caller = Caller {
            name: "the \"shop\"".into(),
            token_sha256: Some("0".repeat(64)),
            roles: vec![Role::Product, Role::Admin],
            namespace: "shop".into(),
            ..Caller::default()
        };
        let lines = lines(&caller).expect("lines");
        assert!(lines.starts_with("[[caller]]\n"), "{lines}");
        let config: Config = toml::from_str(&lines).expect("a configuration");
        assert_eq!(config.callers, [caller]);
    }
}
