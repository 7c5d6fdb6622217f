//! Texts that other systems wrote.

use data_encoding::{BASE64, BASE64URL};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use twinlock::import::{Authenticator, Format, Found, Hints, Unreadable, read, text};
use twinlock_core::otpauth::{Issuer, OtpauthUri, build};
use twinlock_core::{AccountName, qr};
use twinlock_engine::hash::PasswordHash;

/// An `otpauth://` URI: what was read is what an app reads from the URI that is made of it.
pub fn otpauth(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(uri) = OtpauthUri::parse(text) {
        made_anew(&uri);
    }
    // Any name that is allowed comes through as it is, whatever stands in it.
    if let Ok(account_name) = AccountName::parse(text) {
        let uri = OtpauthUri::parse("otpauth://totp/?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let issuer = Issuer::parse(text).ok();
        let uri = OtpauthUri { issuer, account_name: Some(account_name), ..uri.expect("a URI") };
        made_anew(&uri);
    }
}

/// Makes a URI of what was read, and reads it again.
fn made_anew(read: &OtpauthUri) {
    let issuer = read.issuer.clone().unwrap_or_default();
    let account_name = read.account_name.clone();
    let account_name = account_name.unwrap_or(AccountName::parse("nobody").expect("a name"));
    let made = build(&issuer, &account_name, &read.secret, &read.parameters);
    assert!(made.is_ascii() && made.len() <= 2048, "{} bytes", made.len());
    let again = OtpauthUri::parse(&made).expect("what was made is read");
    assert_eq!((&again.secret, again.parameters), (&read.secret, read.parameters));
    let shown = issuer.as_str().replace(':', "-");
    assert_eq!(again.issuer.as_ref().map(Issuer::as_str), Some(&*shown));
    // Apps drop the blanks at the beginning, and so does the parser.
    let shown = account_name.as_str().trim_start_matches(' ');
    assert_eq!(again.account_name.as_ref().map_or("", AccountName::as_str), shown);
    assert!(qr::svg(&made).is_ok(), "it fits into a QR code");
}

/// Google Authenticator's export, as a file of URIs and as the message within one: however the message is
/// written, it says the same, and each authenticator is one that an app can hold.
pub fn migration(input: &[u8]) {
    if let Ok(text) = text(input)
        && let Ok(found) = read(Format::GoogleAuthenticator, text, &Hints::default())
    {
        can_be_held(&found);
    }
    let standard = BASE64.encode(input);
    let spellings = [
        percent_encode(standard.as_bytes(), NON_ALPHANUMERIC).to_string(),
        standard.replace('+', " "),
        standard.trim_end_matches('=').to_owned(),
        BASE64URL.encode(input),
        standard,
    ];
    let [first, others @ ..] = spellings.map(|data| {
        // Something follows, or a blank at the end would go with the line.
        let uri = format!("otpauth-migration://offline?data={data}&x=");
        read(Format::GoogleAuthenticator, &uri, &Hints::default())
    });
    if let Ok(found) = &first {
        can_be_held(found);
    }
    for other in others {
        assert_eq!(shown(&other), shown(&first));
    }
}

fn can_be_held(found: &[Found]) {
    assert!(!found.is_empty(), "a file without entries is refused as a whole");
    for (index, entry) in found.iter().enumerate() {
        assert_eq!(entry.place.entry, index + 1);
        assert!(
            entry.names.iter().all(|(kind, _)| Format::GoogleAuthenticator.names().contains(kind))
        );
        if let Ok(Authenticator { uri, .. }) = &entry.authenticator {
            assert_eq!(uri.parameters.period.as_secs(), 30);
            made_anew(uri);
        }
    }
}

/// All that was found, with the secrets.
fn shown(read: &Result<Vec<Found>, Unreadable>) -> String {
    let Ok(found) = read else { return format!("{read:?}") };
    let secret = |entry: &Found| {
        let authenticator = entry.authenticator.as_ref().ok()?;
        Some(authenticator.uri.secret.to_base32().to_string())
    };
    found.iter().map(|entry| format!("{entry:?} {:?}\n", secret(entry))).collect()
}

/// The text of a password hash: what is accepted is kept as it is, and nothing may stand around it.
pub fn password_hash(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let Ok(hash) = PasswordHash::parse(text) else { return };
    assert_eq!(hash.expose_text(), text);
    assert!(text.len() <= PasswordHash::MAX_BYTES);
    assert!(PasswordHash::parse(hash.expose_text()).is_ok());
    for around in [format!("{text}\n"), format!(" {text}"), format!("{text}$"), format!("${text}")]
    {
        assert!(PasswordHash::parse(&around).is_err(), "something around it was read over");
    }
    assert_eq!(format!("{hash:?}"), "PasswordHash(redacted)");
}
