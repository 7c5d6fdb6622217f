//! PSKC (RFC 6030), in plain or sealed with a pre-shared key.
//!
//! privacyIDEA writes the names of elements and attributes in small letters, against the standard, so case
//! and namespaces are not looked at. Documents with a DTD are refused, and with it all entities.

use roxmltree::{Document, Node};
use twinlock_core::totp::{Algorithm, Secret};
use zeroize::Zeroizing;

use crate::import::cipher::{self, SealedValues};
use crate::import::{Authenticator, Entries, Found, Skipped, Unreadable, json, parameters};

pub(super) fn read(text: &str, key: Option<&str>) -> Result<Vec<Found>, Unreadable> {
    let document = Document::parse(text).map_err(|error| match error {
        roxmltree::Error::DtdDetected => Unreadable::NotXml("it has a DTD"),
        _ => Unreadable::NotXml("it ends too early or is not well-formed"),
    })?;
    let container = document.root_element();
    if !is(container, "KeyContainer") {
        return Err(Unreadable::NotXml("it is no KeyContainer (PSKC, RFC 6030)"));
    }
    let sealed = match (child(container, "EncryptionKey"), key) {
        (None, _) => None,
        (Some(_), None) => return Err(Unreadable::KeyNeeded),
        (Some(_), Some(key)) => Some(sealed_values(container, key)?),
    };
    let mut entries = Entries::default();
    let mut lines = LineCount { text, offset: 0, line: 1 };
    for package in container.children().filter(|node| is(*node, "KeyPackage")) {
        let line = lines.at(package.range().start);
        let key = child(package, "Key");
        let names = [
            ("login", key.and_then(|key| text_of(key, &["UserId"]))),
            ("serial", text_of(package, &["DeviceInfo", "SerialNo"])),
        ];
        let names = names.into_iter().filter_map(|(kind, name)| Some((kind, name?.to_owned())));
        let authenticator =
            key.ok_or(Skipped::Missing("Key")).and_then(|key| authenticator(key, sealed.as_ref()));
        entries.push(Some(line), names.collect(), authenticator);
    }
    Ok(entries.0)
}

/// Lines of places that are asked for in their order.
struct LineCount<'a> {
    text: &'a str,
    offset: usize,
    line: usize,
}

impl LineCount<'_> {
    fn at(&mut self, offset: usize) -> usize {
        let passed = self.text.as_bytes().get(self.offset..offset).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.offset = self.offset.max(offset);
        self.line
    }
}

fn sealed_values(container: Node<'_, '_>, key: &str) -> Result<SealedValues, Unreadable> {
    let method = child(container, "MACMethod").ok_or(Unreadable::NotXml("it has no MACMethod"))?;
    let sealed_key = text_of(method, &["MACKey", "CipherData", "CipherValue"]);
    let sealed_key = sealed_key.ok_or(Unreadable::NotXml("it has no MACKey"))?;
    let algorithm = attribute(method, "Algorithm").unwrap_or_default();
    SealedValues::new(key, sealed_key, algorithm)
}

fn authenticator(
    key: Node<'_, '_>,
    sealed: Option<&SealedValues>,
) -> Result<Authenticator, Skipped> {
    let kind = attribute(key, "Algorithm").and_then(|name| name.rsplit(':').next());
    super::kind(kind.ok_or(Skipped::Missing("Algorithm"))?)?;
    let format = child(key, "AlgorithmParameters");
    let length = format
        .and_then(|format| child(format, "ResponseFormat"))
        .and_then(|format| attribute(format, "Length"))
        .ok_or(Skipped::Missing("ResponseFormat"))?;
    let digits = json::number(length, "Length")?;
    let suite = format.and_then(|format| child(format, "Suite"));
    // privacyIDEA has the hash in an attribute; others have it as text, "HMAC-SHA256" for instance.
    let hash = suite.and_then(|suite| attribute(suite, "hashalgo").or_else(|| suite.text()));
    let algorithm = match hash.map(str::trim).filter(|hash| !hash.is_empty()) {
        Some(hash) => {
            let hash = hash.to_ascii_uppercase().replace(['-', '_'], "");
            Algorithm::parse(hash.strip_prefix("HMAC").unwrap_or(&hash))?
        }
        None => Algorithm::Sha1,
    };
    let data = child(key, "Data").ok_or(Skipped::Missing("Data"))?;
    let interval = text_of(data, &["TimeInterval", "PlainValue"]);
    let interval = json::number(interval.unwrap_or("30"), "TimeInterval")?;
    let drift = text_of(data, &["TimeDrift", "PlainValue"]).and_then(|drift| drift.parse().ok());
    let secret = secret(data, sealed)?;
    let authenticator = Authenticator::new(secret, parameters(algorithm, digits, interval)?);
    Ok(authenticator.with_drift(drift.unwrap_or(0.0)))
}

fn secret(data: Node<'_, '_>, sealed: Option<&SealedValues>) -> Result<Secret, Skipped> {
    let secret = child(data, "Secret").ok_or(Skipped::Missing("Secret"))?;
    let bytes = match (text_of(secret, &["PlainValue"]), sealed) {
        (Some(plain), _) => cipher::base64(plain).ok_or(Skipped::UnknownEncoding)?,
        (None, Some(sealed)) => {
            let value =
                child(secret, "EncryptedValue").ok_or(Skipped::Missing("EncryptedValue"))?;
            let method = child(value, "EncryptionMethod");
            let method = method.and_then(|method| attribute(method, "Algorithm"));
            let value = text_of(value, &["CipherData", "CipherValue"]);
            let mac = text_of(secret, &["ValueMAC"]).ok_or(Skipped::Missing("ValueMAC"))?;
            sealed.open(
                method.unwrap_or_default(),
                value.ok_or(Skipped::Missing("CipherValue"))?,
                mac,
            )?
        }
        (None, None) => return Err(Skipped::Missing("PlainValue")),
    };
    Ok(Secret::from_bytes(&Zeroizing::new(bytes))?)
}

fn is(node: Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name().eq_ignore_ascii_case(name)
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|node| is(*node, name))
}

fn text_of<'a>(node: Node<'a, '_>, path: &[&str]) -> Option<&'a str> {
    let found = path.iter().try_fold(node, |node, name| child(node, name))?;
    found.text().map(str::trim).filter(|text| !text.is_empty())
}

fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    node.attributes()
        .find(|found| found.name().eq_ignore_ascii_case(name))
        .map(|found| found.value())
}
