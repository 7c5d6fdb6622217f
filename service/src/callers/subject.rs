//! The names that a client certificate may have for its holder.

use std::fmt;
use std::net::IpAddr;
use tokio_rustls::rustls::pki_types::{CertificateDer, DnsName};

/// A subject alternative name (RFC 5280 section 4.2.1.6): a DNS name, or a URI such as a SPIFFE ID.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum SubjectName {
    /// In lower case: DNS names that differ in case alone are the same (RFC 4343).
    Dns(String),
    /// Compared byte by byte, as SPIFFE IDs are once they are written as their standard asks.
    Uri(String),
}

impl SubjectName {
    /// Reads the name of a `[[caller]]`. A name stands for itself: there are no wildcards.
    ///
    /// # Errors
    ///
    /// What is wrong with it, to be read after the name of the setting.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('*') {
            return Err("has a wildcard, which would let in whoever is given such a name");
        }
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err("is an address, which says nothing of who calls from it");
        }
        if text.contains(':') {
            return parse_uri(text);
        }
        if text.contains('@') {
            return Err("is an email address");
        }
        let is_relative = !text.ends_with('.');
        match DnsName::try_from(text) {
            Ok(_) if is_relative => Ok(Self::Dns(text.to_ascii_lowercase())),
            _ => Err("is neither a DNS name nor a URI"),
        }
    }

    /// The names of a certificate that was verified before, read by what verified it.
    pub fn of(certificate: &CertificateDer<'_>) -> Vec<Self> {
        let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
            return Vec::new();
        };
        let dns = certificate.valid_dns_names().map(|name| Self::Dns(name.to_ascii_lowercase()));
        dns.chain(certificate.valid_uri_names().map(|uri| Self::Uri(uri.into()))).collect()
    }
}

fn parse_uri(text: &str) -> Result<SubjectName, &'static str> {
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    // `DNS:shop.internal`, as openssl prints it, or `shop.internal:443` would never be met.
    let is_known_form = rest.len() > 2 && rest.starts_with("//") || scheme == "urn";
    let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_scheme && is_known_form && is_printable && !rest.is_empty() {
        return Ok(SubjectName::Uri(text.into()));
    }
    Err("is neither a DNS name nor a URI")
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Uri(name) => f.write_str(name),
        }
    }
}

/// Escaped, since whoever makes certificates chooses it and it goes into the log.
impl fmt::Debug for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Uri(name) => write!(f, "{name:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names_or_uris() {
        let dns = |name: &str| Ok(SubjectName::Dns(name.into()));
        let uri = |name: &str| Ok(SubjectName::Uri(name.into()));
        assert_eq!(SubjectName::parse("Shop.Internal"), dns("shop.internal"));
        assert_eq!(SubjectName::parse("localhost"), dns("localhost"));
        for name in ["spiffe://cluster.local/ns/shop/sa/Web", "https://a.example/b", "urn:uuid:1"] {
            assert_eq!(SubjectName::parse(name), uri(name), "{name}");
        }
    }

    #[test]
    fn what_could_match_more_or_nothing_is_refused() {
        for name in [
            "",
            "*.internal",
            "spiffe://cluster.local/*",
            "shop.internal.",
            "shop internal",
            "shop.internal:443",
            "DNS:shop.internal",
            "URI:spiffe://cluster.local/shop",
            "127.0.0.1",
            "::1",
            "[::1]",
            "shop@example.com",
            "spiffe://",
            "spiffe://a b",
            "://shop",
            "sh\u{f6}p.internal",
            "urn:",
        ] {
            // `URI:spiffe:...` has no `//` after its first colon, and so is no URI here.
            assert!(SubjectName::parse(name).is_err(), "{name:?}");
        }
    }
}
