//! What can be wrong with a file, and with one entry of it.

use twinlock_core::Malformed;

use super::{Format, MAX_BYTES, Place};

/// Why a file cannot be read at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Unreadable {
    #[error("The file has more than {} MiB. Split it.", MAX_BYTES >> 20)]
    TooLarge,
    #[error("The file is UTF-16. Save it as UTF-8.")]
    Utf16,
    #[error("The file is not UTF-8: see line {line}.")]
    NotUtf8 { line: usize },
    #[error("Nothing tells the format of the file for sure. Say which it is with --format.")]
    UnknownFormat,
    #[error("The file is no JSON: it ends, or goes wrong, in line {line}.")]
    NotJson { line: usize },
    #[error("The file is no XML that can be read: {0}. Documents with a DTD are refused.")]
    NotXml(&'static str),
    #[error("The file has no column {0} in its first line.")]
    NoColumn(&'static str),
    #[error("The file is encrypted. Give the file that holds its key with --key-file.")]
    KeyNeeded,
    #[error("The key is not of its form: {0}.")]
    MalformedKey(&'static str),
    #[error("The key does not open the file, or the file was changed.")]
    WrongKey,
    #[error(
        "privacyIDEA's CSV does not say which hash its codes are made with. Export in the format pi, which \
         does, or say --algorithm SHA1 if you know that it is the one of all these tokens."
    )]
    AlgorithmNeeded,
    #[error("The file tells of no authenticator, read as the format {0}.")]
    Empty(Format),
    #[error("The format {format} tells no {name} of its users. It tells {}.", format.names().join(", "))]
    UnknownName { format: Format, name: String },
    #[error("The file of users must have a first line with two columns, one of them user_id.")]
    MappingHeader,
    #[error("Line {line} of the file of users has no two columns, or an empty one.")]
    MappingLine { line: usize },
    #[error(
        "Line {line} of the file of users gives another user_id for a name that it gave before."
    )]
    MappingTwice { line: usize },
}

/// Why an entry is not taken over, to be read after a colon. It never quotes the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Skipped {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("the secret must be hexadecimal")]
    NotHexadecimal,
    #[error("the encoding of the secret is not known")]
    UnknownEncoding,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is given twice or is not of its type")]
    WrongType(String),
    #[error("it is not of its form, or gives a field twice")]
    WrongForm,
    #[error("{0} must be a whole number that is not negative")]
    NotANumber(&'static str),
    #[error("the line is no JSON")]
    NotJson,
    #[error("the line is no otpauth-migration URI that can be read")]
    NotMigration,
    #[error("of an export in {of} parts, {missing} is missing; it comes in several QR codes")]
    MissingParts { missing: usize, of: usize },
    #[error("a field goes over more than one line; is a quote not closed?")]
    OpenQuote,
    #[error("codes by counter (HOTP) are not supported")]
    Counter,
    #[error("it makes no codes by time")]
    OtherKind,
    #[error("its set-up was never finished")]
    Unconfirmed,
    #[error("it is disabled or revoked")]
    Disabled,
    #[error("its steps do not count from 1970 (t0)")]
    OtherEpoch,
    #[error(
        "Vault did not tell the secret; it does so only in the answer to the creation of a key"
    )]
    NotTold,
    #[error("it is of Keycloak 7 or older, which has another form; export from a newer one")]
    OldKeycloak,
    #[error("Kratos did not tell the secret; ask with include_credential=totp")]
    NotIncluded,
    #[error("it is encrypted in a way that is not supported")]
    UnknownCipher,
    #[error("the key does not open it, or it was changed")]
    NotOpened,
    #[error("it names no {wanted}; --user-from takes another name ({})", listed(had))]
    Nameless { wanted: String, had: Vec<&'static str> },
    #[error("the file of users does not know this name")]
    Unmapped,
    #[error("the user id is an otpauth URI; are the columns mixed up?")]
    UserIsUri,
    #[error("the same user was in {0} already, and one has one authenticator")]
    Twice(Place),
}

fn listed(names: &[&'static str]) -> String {
    if names.is_empty() { "it has none".into() } else { format!("it has {}", names.join(", ")) }
}
