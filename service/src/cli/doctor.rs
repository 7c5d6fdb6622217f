//! `twinlock doctor`: what is wrong, and what to do about it.

use super::operate::{ConfigArguments, run_to_end};
use crate::config::Config;
use crate::{dataset, keyring};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use twinlock_core::record::{Pending, Record, Sealed};
use twinlock_engine::seal::{Purpose, Unreadable, Vault};

/// 2025-01-01: a clock before it was never set, and no authenticator's code would match.
const CLOCK_AT_LEAST_SECS: u64 = 1_735_689_600;

#[derive(Debug, Args)]
pub struct DoctorArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Print JSON, one finding a line
    #[arg(long)]
    json: bool,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    /// What was looked at.
    subject: String,
    is_right: bool,
    /// What was found and, where something is wrong, what to do.
    advice: String,
}

/// Looks at everything and prints what it finds. The exit status is 0 where all is right, else 1; 2 where
/// the configuration cannot even be read.
pub(super) fn doctor(arguments: &DoctorArguments) -> ExitCode {
    let config = match arguments.config.load() {
        Ok(loaded) => loaded.config,
        Err(problems) => return problems,
    };
    let findings = examine(&config);
    for finding in &findings {
        if arguments.json {
            println!("{}", serde_json::json!(finding));
        } else {
            let mark = if finding.is_right { "ok  " } else { "FAIL" };
            println!("{mark}  {}: {}", finding.subject, finding.advice);
        }
    }
    ExitCode::from(u8::from(findings.iter().any(|finding| !finding.is_right)))
}

fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |subject: &str, is_right: bool, advice: String| {
        findings.push(Finding { subject: subject.into(), is_right, advice });
    };
    found("configuration", true, "it can be used".into());
    for warning in config.warnings() {
        found("configuration", true, format!("warning: {warning}"));
    }
    let now = twinlock_engine::clock::system()().as_secs();
    if now < CLOCK_AT_LEAST_SECS {
        found("clock", false, "it was never set; set it, or no code will match".into());
    } else {
        found("clock", true, "it is set".into());
    }
    let file = &config.keyring.file;
    match keyring::load(&config.keyring) {
        Ok(_) if config.keyring.keys.is_none() && keyring::is_open_to_others(file) => {
            found(
                "keyring",
                false,
                format!("others may read it; run `chmod 600 {}`", file.display()),
            );
        }
        Ok(_) => found("keyring", true, format!("{} can be read", keyring::name(&config.keyring))),
        Err(error) => found("keyring", false, format!("{error:#}")),
    }
    let looked = run_to_end(async {
        examine_store(config, &mut found).await;
        Ok(())
    });
    if let Err(error) = looked {
        found("store", false, format!("{error:#}"));
    }
    findings
}

async fn examine_store(config: &Config, found: &mut impl FnMut(&str, bool, String)) {
    let name = dataset::name(&config.store);
    let dataset = match dataset::open(config).await {
        Ok(dataset) => dataset,
        Err(error) => return found("store", false, format!("{name} cannot be opened: {error:#}")),
    };
    found("store", true, format!("{name} opens with this keyring"));
    for warning in dataset.store().warnings() {
        found("store", true, format!("warning: {warning}"));
    }
    let mut unreadable = BTreeMap::new();
    let records = dataset.each_record(|record| {
        let vault = dataset.keyring.vault(&record.key);
        let read = vault.read(&record.bytes).and_then(|read| open_all(&vault, &read));
        if let Err(why) = read {
            unreadable.insert(record.key.user.to_string(), why);
        }
    });
    match records.await {
        Ok(count) if unreadable.is_empty() => {
            found("records", true, format!("all {count} can be read"));
        }
        Ok(_) => {
            for (user, why) in unreadable {
                let advice = format!(
                    "{user}: {why}; add the missing key to the keyring, or restore the record"
                );
                found("records", false, advice);
            }
        }
        Err(error) => found("records", false, format!("{error}; restore a backup")),
    }
}

/// Opens every secret of a record.
fn open_all(vault: &Vault, record: &Record) -> Result<(), Unreadable> {
    let secrets = [
        record.authenticator.as_ref().map(|authenticator| &authenticator.secret),
        record.pending.as_ref().map(|Pending { secret, .. }| secret),
    ];
    let recovery = record.recovery.as_ref().map(|recovery| &recovery.hash);
    let sealed = secrets
        .into_iter()
        .map(|secret| (Purpose::TotpSecret, secret))
        .chain([(Purpose::RecoveryKey, recovery), (Purpose::Password, record.password.as_ref())]);
    for (purpose, sealed) in sealed {
        let sealed: Option<&Sealed> = sealed;
        if let Some(sealed) = sealed {
            vault.open(purpose, sealed)?;
        }
    }
    Ok(())
}
