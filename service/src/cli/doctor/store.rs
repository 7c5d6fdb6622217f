//! The store: whether it opens, what it should be mended for, its clock, and every record.

use super::Findings;
use crate::cli::Failure;
use crate::cli::connection::{ConnectionArguments, DEFAULT_TIMEOUT};
use crate::cli::progress::{self, Unit};
use crate::config::{Config, Listen};
use crate::dataset::{self, Dataset};
use std::time::Duration;
use twinlock_client::proto::ExamineRequest;
use twinlock_core::{Namespace, UserId};
use twinlock_engine::backup::Scope;
use twinlock_engine::clock;
use twinlock_engine::deadline::Deadline;
use twinlock_engine::examine::Examination;
use twinlock_engine::store::{RecordKey, StoreError};

/// How long the store may take for one step.
const STEP: Duration = Duration::from_secs(30);
/// How much the clocks may differ: a third of a code's period.
const CLOCKS_DIFFER: Duration = Duration::from_secs(10);
/// How many records are named that cannot be read.
const NAMED: u64 = 1000;

pub(super) async fn examine(
    config: &Config,
    connection: &ConnectionArguments,
    findings: &mut Findings,
) {
    let name = dataset::name(&config.store);
    match dataset::open(config).await {
        Ok(dataset) => {
            findings.right("store", &format!("{name} opens with this keyring"));
            examine_dataset(&dataset, findings).await;
            if connection.names_a_server() {
                ask(config, connection, findings).await;
            }
        }
        Err(error) if matches!(error.downcast_ref(), Some(StoreError::InUse(_))) => {
            let asked = format!("{name} is in use by a server, which is asked in its place");
            match ask(config, connection, findings).await {
                true => findings.right("store", &asked),
                false => findings.wrong("store", &format!("{name} cannot be opened: {error:#}")),
            }
        }
        Err(error) => findings.wrong("store", &format!("{name} cannot be opened: {error:#}")),
    }
}

async fn examine_dataset(dataset: &Dataset, findings: &mut Findings) {
    let store = dataset.store();
    for warning in store.warnings() {
        findings.warning("store", &warning);
    }
    // Nobody's name: all that it is asked for is the time.
    let nobody = UserId::parse("twinlock doctor");
    if let Ok(user) = nobody {
        let key = RecordKey { namespace: Namespace::default(), user };
        match store.load(&key, Deadline::after(STEP)).await {
            Ok(loaded) => compare_clocks(loaded.now.as_millis(), findings),
            Err(error) => findings.wrong("clock", &format!("the store does not tell it: {error}")),
        }
    }
    let mut examination = Examination::new(store, Scope::Everything);
    let bar = progress::bar("Examining", Unit::Records, findings.json);
    let mut looked = Looked::default();
    while let Some(progress) =
        examination.next(|| dataset.keyring.clone(), Deadline::after(STEP)).await
    {
        bar.set_length(progress.records_total.unwrap_or(progress.records_done));
        bar.set_position(progress.records_done);
        looked.records = progress.records_done;
        for finding in &progress.findings {
            let user = finding.user.as_ref().map_or("", |user| user.as_str());
            bar.suspend(|| looked.add(findings, user, &finding.advice()));
        }
    }
    bar.finish_and_clear();
    looked.conclude(findings);
}

fn compare_clocks(store: u64, findings: &mut Findings) {
    let here = clock::system()().as_millis();
    let apart = Duration::from_millis(here.abs_diff(store));
    if apart < CLOCKS_DIFFER {
        return findings.right("clock", "the store's agrees with this machine's");
    }
    let direction = if store > here { "ahead of" } else { "behind" };
    let advice = format!(
        "the store's is {} s {direction} this machine's; set both by NTP: codes are checked by the store's",
        apart.as_secs()
    );
    findings.wrong("clock", &advice);
}

/// Asks a running server; gives whether it answered.
async fn ask(config: &Config, connection: &ConnectionArguments, findings: &mut Findings) -> bool {
    let address = address(config);
    match ask_at(connection, &address, findings).await {
        Ok(()) => true,
        Err(failure) => {
            let advice = format!(
                "the server could not be asked: {}; say with --address where it is, and with --token-file \
                 who asks",
                failure.advice().trim_end_matches('.')
            );
            findings.wrong("server", &advice);
            false
        }
    }
}

async fn ask_at(
    connection: &ConnectionArguments,
    address: &str,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let client = connection.client_at(address, DEFAULT_TIMEOUT)?;
    let mut parts = client.examine(ExamineRequest {}).await?;
    let bar = progress::bar("Examining", Unit::Records, findings.json);
    let mut looked = Looked::default();
    let mut is_complete = false;
    while let Some(part) = parts.next().await? {
        bar.set_length(part.records_total.max(part.records_done));
        bar.set_position(part.records_done);
        looked.records = part.records_done;
        is_complete = part.is_last;
        for finding in &part.findings {
            bar.suspend(|| looked.add(findings, &finding.user_id, &finding.advice));
        }
    }
    bar.finish_and_clear();
    if !is_complete {
        return Err(Failure::Broken("it ended before it had looked at everything.".into()));
    }
    findings.right("server", &format!("{} answers", client.address()));
    looked.conclude(findings);
    Ok(())
}

/// What came up of the records.
#[derive(Default)]
struct Looked {
    records: u64,
    wrong: u64,
}

impl Looked {
    fn add(&mut self, findings: &mut Findings, user: &str, advice: &str) {
        self.wrong += 1;
        if self.wrong <= NAMED {
            match user {
                "" => findings.wrong("records", advice),
                user => findings.wrong("records", &format!("{user}: {advice}")),
            }
        }
    }

    fn conclude(&self, findings: &mut Findings) {
        match self.wrong.checked_sub(NAMED) {
            Some(more @ 1..) => findings.wrong("records", &format!("{more} others, too")),
            _ if self.wrong == 0 => {
                findings.right("records", &format!("all {} can be read", self.records));
            }
            _ => {}
        }
    }
}

/// Where the configured server is reached.
fn address(config: &Config) -> String {
    match &config.server.listen {
        Listen::Unix(path) => format!("unix:{}", path.display()),
        Listen::Tcp(address) => {
            let scheme = if config.server.tls_cert.is_some() { "https" } else { "http" };
            format!("{scheme}://{address}")
        }
    }
}
