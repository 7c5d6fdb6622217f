//! Callers and certificates that change while the server runs.

use super::tls::Tls;
use crate::callers::Callers;
use crate::config::{self, Config, Problem, Source};
use crate::reload;
use anyhow::{Result, bail};
use arc_swap::ArcSwap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// How often the log says that the server's certificate expires soon.
const REMINDER: Duration = Duration::from_secs(24 * 3600);

/// Brings what is in the files into force. What cannot be used is refused, and what was in force stays.
pub struct Renewal {
    source: Source,
    /// What the server was started with.
    config: Config,
    /// The callers in force.
    configured: Vec<config::Caller>,
    /// The keys that the log last said to need a restart.
    restart_needed: Vec<String>,
    callers: Arc<Callers>,
    tls: Option<Arc<Tls>>,
    refused: Refused,
}

/// What was refused at the last look, as sentences.
pub type Refused = Arc<ArcSwap<Vec<String>>>;

impl Renewal {
    pub fn new(
        source: Source,
        config: &Config,
        callers: Arc<Callers>,
        tls: Option<Arc<Tls>>,
    ) -> Self {
        Self {
            source,
            config: config.clone(),
            configured: config.callers.clone(),
            restart_needed: Vec::new(),
            callers,
            tls,
            refused: Refused::default(),
        }
    }

    /// What was refused at the last look; it is empty again once the files are right.
    pub fn refused(&self) -> Refused {
        self.refused.clone()
    }

    /// Follows the files for as long as the future lives.
    pub fn follow(mut self) -> io::Result<impl Future<Output = ()> + Send> {
        if self.source.file.take_if(|file| !reload::is_regular(file)).is_some() {
            tracing::info!("the configuration is no regular file, so callers are not reloaded");
        }
        let mut files: Vec<PathBuf> = self.source.file.iter().cloned().collect();
        files.extend(self.tls.iter().flat_map(|tls| tls.paths()));
        let tls = self.tls.clone();
        let changes = reload::on_change(files, move || self.apply())?;
        Ok(async move {
            tokio::join!(changes, remind(tls));
        })
    }

    fn apply(&mut self) {
        let mut refused = Vec::new();
        // Whether clients need certificates hangs on the callers, so these go first.
        for renewed in [self.renew_callers(), self.renew_certificates()] {
            if let Err(error) = renewed {
                tracing::error!("a change was refused, what was in force stays: {error:#}");
                refused.push(format!("a change was refused: {error:#}"));
            }
        }
        self.refused.store(Arc::new(refused));
    }

    fn renew_callers(&mut self) -> Result<()> {
        if self.source.file.is_none() {
            return Ok(());
        }
        let Config { callers, .. } = self.read()?;
        if callers == self.configured {
            return Ok(());
        }
        let (new, gone) = self.callers.replace(&callers)?;
        self.configured = callers;
        tracing::info!(?new, ?gone, "callers were reloaded");
        Ok(())
    }

    fn read(&mut self) -> Result<Config> {
        let config = self.source.load()?.config;
        let problems: Vec<String> = config.check().iter().map(Problem::to_string).collect();
        if !problems.is_empty() {
            bail!("the configuration cannot be used: {}", problems.join("; "));
        }
        let keys = self.config.differences(&config);
        if keys != self.restart_needed && !keys.is_empty() {
            tracing::warn!(?keys, "these settings have changed and need a restart to take effect");
        }
        self.restart_needed = keys;
        Ok(config)
    }

    fn renew_certificates(&self) -> Result<()> {
        let Some(tls) = &self.tls else { return Ok(()) };
        if tls.renew(!self.callers.any_has_a_token())? {
            let expires = UNIX_EPOCH + Duration::from_secs(tls.expires().as_secs());
            let expires = humantime::format_rfc3339_seconds(expires);
            tracing::info!(%expires, "certificates were reloaded, for new connections");
        }
        Ok(())
    }
}

/// Says in the log, day after day, that a certificate expires soon.
async fn remind(tls: Option<Arc<Tls>>) {
    let Some(tls) = tls else { return };
    loop {
        tokio::time::sleep(REMINDER).await;
        tls.warn_of_expiry();
    }
}
