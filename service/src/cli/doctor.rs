//! `twinlock doctor`: what is wrong, and what to do about it.

mod certificates;
mod store;

use super::connection::ConnectionArguments;
use super::operate::{ConfigArguments, run_to_end};
use crate::config::Config;
use crate::keyring;
use clap::Args;
use serde::Serialize;
use std::process::ExitCode;
use twinlock_core::Timestamp;

/// 2025-01-01: a clock before it was never set, and no authenticator's code would match.
const CLOCK_AT_LEAST: Timestamp = Timestamp::from_secs(1_735_689_600);

/// Say what is wrong with the configuration, the keyring, the certificates and the store, and what to do.
///
/// Where a running server has the embedded store, it is asked to look at the records: at the configured
/// address, or at --address. With --address a server is asked in any case. That needs the role operator.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    subject: &'static str,
    is_right: bool,
    /// What was found and, where something is wrong, what to do.
    advice: String,
}

/// What was found so far; each thing is printed at once, for there may be many.
struct Findings {
    json: bool,
    wrong: u64,
}

/// Looks at everything and prints what it finds. The exit status is 0 where all is right, else 1; 2 where
/// the configuration cannot even be read.
pub(super) fn doctor(arguments: &DoctorArguments) -> ExitCode {
    let config = match arguments.config.load() {
        Ok(loaded) => loaded.config,
        Err(problems) => return problems,
    };
    let mut findings = Findings { json: arguments.connection.json, wrong: 0 };
    findings.right("configuration", "it can be used");
    for warning in config.warnings() {
        findings.warning("configuration", &warning.to_string());
    }
    match twinlock_engine::clock::system()() < CLOCK_AT_LEAST {
        true => findings.wrong("clock", "it was never set; set it, or no code will match"),
        false => findings.right("clock", "it is set"),
    }
    examine_keyring(&config, &mut findings);
    certificates::examine(&config, &mut findings);
    let looked = run_to_end(async {
        store::examine(&config, &arguments.connection, &mut findings).await;
        Ok(())
    });
    if let Err(error) = looked {
        findings.wrong("store", &format!("{error:#}"));
    }
    ExitCode::from(u8::from(findings.wrong > 0))
}

fn examine_keyring(config: &Config, findings: &mut Findings) {
    let file = &config.keyring.file;
    match keyring::load(&config.keyring) {
        Ok(_) if config.keyring.keys.is_none() && keyring::is_open_to_others(file) => {
            let advice = format!("others may read it; run `chmod 600 {}`", file.display());
            findings.wrong("keyring", &advice);
        }
        Ok(_) => {
            let name = keyring::name(&config.keyring);
            findings.right("keyring", &format!("{name} can be read"));
        }
        Err(error) => findings.wrong("keyring", &format!("{error:#}")),
    }
}

impl Findings {
    fn right(&mut self, subject: &'static str, advice: &str) {
        self.add(Finding { subject, is_right: true, advice: advice.into() });
    }

    fn warning(&mut self, subject: &'static str, advice: &str) {
        self.right(subject, &format!("warning: {advice}"));
    }

    fn wrong(&mut self, subject: &'static str, advice: &str) {
        self.wrong += 1;
        self.add(Finding { subject, is_right: false, advice: advice.into() });
    }

    fn add(&mut self, finding: Finding) {
        if self.json {
            println!("{}", serde_json::json!(finding));
        } else {
            let mark = if finding.is_right { "ok  " } else { "FAIL" };
            println!("{mark}  {}: {}", finding.subject, finding.advice);
        }
    }
}
