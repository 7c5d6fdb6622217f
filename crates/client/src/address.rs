//! Addresses of servers.

use std::error::Error as _;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};

use crate::{Error, Options};

/// The endpoint of `options.address`, with TLS where that begins with `https`.
pub(crate) fn endpoint(options: &Options) -> Result<Endpoint, Error> {
    let (uri, tls) = parse(&options.address)?;
    let endpoint = Endpoint::from_shared(uri).map_err(|_| malformed(&options.address))?;
    let endpoint = endpoint
        .user_agent(concat!("twinlock-client/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| Error::internal(error.to_string()))?;
    if tls {
        // It would be taken for a client that trusts nobody, and each call would fail.
        let authorities = options.tls_ca.as_deref().unwrap_or_default();
        if options.tls_ca.is_some() && CertificateDer::pem_slice_iter(authorities).next().is_none()
        {
            return Err(Error::invalid("tls_ca", "It holds no certificate in PEM.".into()));
        }
        return endpoint.tls_config(tls_config(options)).map_err(|error| {
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            Error::invalid("tls_ca", format!("The TLS settings cannot be used: {error}: {cause}."))
        });
    }
    if options.tls_ca.is_some() || options.tls_identity.is_some() {
        let message = "TLS settings were given, but the address is not an https:// one; \
                       write it as https://host:port.";
        return Err(Error::invalid("address", message.into()));
    }
    Ok(endpoint)
}

/// The URI to connect to, and whether to use TLS.
fn parse(address: &str) -> Result<(String, bool), Error> {
    if let Some(path) = address.strip_prefix("unix:") {
        if path.trim_start_matches('/').is_empty() {
            return Err(malformed(address));
        }
        return Ok((address.to_owned(), false));
    }
    let text = match address.contains("://") {
        true => address.to_owned(),
        false => format!("http://{address}"),
    };
    let uri: Uri = text.parse().map_err(|_| malformed(address))?;
    let plain = uri.path() == "/"
        && uri.query().is_none()
        && uri.authority().is_some_and(|authority| {
            // The parser takes any text after the colon.
            let named = authority.host() == authority.as_str() || authority.port_u16().is_some();
            named && !authority.host().is_empty() && !authority.as_str().contains('@')
        });
    match uri.scheme_str() {
        Some("http") if plain => Ok((text, false)),
        Some("https") if plain => Ok((text, true)),
        _ => Err(malformed(address)),
    }
}

fn tls_config(options: &Options) -> ClientTlsConfig {
    let config = match &options.tls_ca {
        Some(authorities) => {
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities))
        }
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match &options.tls_identity {
        Some(identity) => config.identity(Identity::from_pem(&identity.certificate, &identity.key)),
        None => config,
    }
}

/// Quotes the address, unless that may hold a password.
fn malformed(address: &str) -> Error {
    let quoted = if address.contains('@') { "(not shown)" } else { address };
    Error::invalid(
        "address",
        format!(
            "{quoted:?} is not the address of a server; write it like http://127.0.0.1:6238, \
             https://host:port or unix:/path/to/socket."
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    #[test]
    fn addresses_of_every_form_are_understood() {
        for (address, uri, tls) in [
            ("http://127.0.0.1:6238", "http://127.0.0.1:6238", false),
            ("http://127.0.0.1:6238/", "http://127.0.0.1:6238/", false),
            ("127.0.0.1:6238", "http://127.0.0.1:6238", false),
            ("localhost:6238", "http://localhost:6238", false),
            ("[::1]:6238", "http://[::1]:6238", false),
            ("https://twinlock.internal:6238", "https://twinlock.internal:6238", true),
            ("HTTPS://twinlock.internal", "HTTPS://twinlock.internal", true),
            ("unix:/run/twinlock.sock", "unix:/run/twinlock.sock", false),
            ("unix:///run/twinlock.sock", "unix:///run/twinlock.sock", false),
        ] {
            assert_eq!(parse(address).unwrap(), (uri.into(), tls), "{address}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_an_example() {
        for address in [
            "",
            "unix:",
            "unix:///",
            "http://",
            "ftp://127.0.0.1",
            "redis://127.0.0.1:6379",
            "http://127.0.0.1:6238/twinlock",
            "http://127.0.0.1:6238?a=b",
            "127.0.0.1:port",
            "127.0.0.1:99999",
            "127.0.0.1:",
            "two words",
        ] {
            let error = parse(address).unwrap_err();
            assert_eq!(error.reason, Reason::InvalidRequest, "{address}");
            assert_eq!(error.violations[0].field, "address");
            assert!(error.message.contains("http://127.0.0.1:6238"), "{address}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_repeated() {
        let error = parse("http://alice:hunter2@127.0.0.1:6238").unwrap_err();
        assert!(!error.message.contains("hunter2"), "{}", error.message);
    }

    #[test]
    fn tls_settings_need_an_https_address() {
        let options = Options { tls_ca: Some(b"PEM".to_vec()), ..Options::default() };
        assert!(endpoint(&options).unwrap_err().message.contains("https://"));
    }

    #[test]
    fn authorities_that_are_none_are_refused_at_once() {
        let https = |pem: &[u8]| Options {
            address: "https://twinlock.internal:6238".into(),
            tls_ca: Some(pem.to_vec()),
            ..Options::default()
        };
        let key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for pem in [&b""[..], b"no certificate", key] {
            let error = endpoint(&https(pem)).unwrap_err();
            assert_eq!(error.reason, Reason::InvalidRequest);
            assert_eq!(error.violations[0].field, "tls_ca");
        }
    }
}
