//! The certificates that the server shows, and those that it trusts.

use super::Findings;
use crate::config::Config;
use crate::serve::certificate::{EXPIRES_SOON, Files, Validity};
use anyhow::Result;
use twinlock_engine::clock;

pub(super) fn examine(config: &Config, findings: &mut Findings) {
    let Some(files) = Files::of(&config.server) else { return };
    let requires_certificate = config.callers.iter().all(|caller| caller.token_sha256.is_none());
    let made = files.read(requires_certificate);
    tell(findings, "server.tls_cert", made.map(|made| made.validity));
    if let Some(authorities) = &config.server.tls_client_ca {
        tell(findings, "server.tls_client_ca", Validity::read(authorities));
    }
}

fn tell(findings: &mut Findings, setting: &str, validity: Result<Validity>) {
    let validity = match validity {
        Ok(validity) => validity,
        Err(error) => return findings.wrong("certificates", &format!("{error:#}; mend it")),
    };
    let now = clock::system()();
    let left = now.until(validity.expires);
    let days = left.as_secs() / (24 * 3600);
    if validity.begins > now {
        let advice = format!(
            "{setting}: a certificate in it is not valid yet; set this machine's clock, or renew it"
        );
        findings.wrong("certificates", &advice);
    } else if left.is_zero() {
        let advice = format!("{setting}: a certificate in it has expired; renew it");
        findings.wrong("certificates", &advice);
    } else if left < EXPIRES_SOON {
        let advice = format!("{setting}: a certificate in it expires in {days} days; renew it");
        findings.warning("certificates", &advice);
    } else {
        findings.right("certificates", &format!("{setting} is valid for {days} more days"));
    }
}
