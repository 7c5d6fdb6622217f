//! Which user of the product an entry is for.

use std::collections::HashMap;
use std::collections::hash_map;

use twinlock_core::UserId;

use super::table::Table;
use super::{Authenticator, Format, Found, Place, Skipped, Unreadable};

/// How users are named in a file, and which ids they have in the product.
#[derive(Debug, Default)]
pub struct Users {
    /// Which of the file's names of a user counts; the format's first otherwise.
    pub name: Option<String>,
    /// The user ids of these names; the names themselves where it is left out.
    pub ids: Option<HashMap<String, String>>,
}

impl Users {
    /// Reads a mapping: CSV whose first line names two columns, one of them `user_id`; the other has the names.
    pub fn mapping(text: &str) -> Result<HashMap<String, String>, Unreadable> {
        let table = Table::read(text);
        let user_id = table.column(&["user_id"]).or(Err(Unreadable::MappingHeader))?;
        if table.columns().len() != 2 {
            return Err(Unreadable::MappingHeader);
        }
        let name = 1 - user_id;
        let mut ids = HashMap::new();
        for record in table.records() {
            let line = record.line;
            let (Some(name), Some(id)) = (record.field(name), record.field(user_id)) else {
                return Err(Unreadable::MappingLine { line });
            };
            if record.len() != 2 || record.check().is_err() {
                return Err(Unreadable::MappingLine { line });
            }
            if ids.insert(name.to_owned(), id.to_owned()).is_some_and(|before| before != id) {
                return Err(Unreadable::MappingTwice { line });
            }
        }
        Ok(ids)
    }

    fn user(&self, format: Format, names: &[(&'static str, String)]) -> Result<UserId, Skipped> {
        let wanted = self.wanted(format);
        let name = names.iter().find(|(kind, _)| *kind == wanted).map(|(_, name)| name);
        let name = name.ok_or_else(|| Skipped::Nameless {
            wanted: wanted.to_owned(),
            had: names.iter().map(|(kind, _)| *kind).collect(),
        })?;
        let id = match &self.ids {
            Some(ids) => ids.get(name).ok_or(Skipped::Unmapped)?,
            None => name,
        };
        if is_uri(id) {
            return Err(Skipped::UserIsUri);
        }
        Ok(UserId::parse(id)?)
    }

    fn wanted(&self, format: Format) -> &str {
        self.name.as_deref().or(format.names().first().copied()).unwrap_or_default()
    }
}

/// A secret in the wrong column must not end up in the report, nor in the store as a name.
fn is_uri(name: &str) -> bool {
    name.trim_start().get(..7).is_some_and(|start| start.eq_ignore_ascii_case("otpauth"))
}

/// An entry with the user whom it is for.
#[derive(Debug)]
pub struct Entry {
    /// Where it is in the file.
    pub place: Place,
    /// How to call the user in a report: by the user id, or by a name of the file.
    pub called: Option<String>,
    /// Whose authenticator it is and which, or why it is not taken over.
    pub taken: Result<(UserId, Authenticator), Skipped>,
}

/// Finds the user of each entry. The first entry of a user that can be taken over is, and no other.
pub fn assign(format: Format, found: Vec<Found>, users: &Users) -> Result<Vec<Entry>, Unreadable> {
    if let Some(name) = users.name.as_ref().filter(|name| !format.names().contains(&name.as_str()))
    {
        return Err(Unreadable::UnknownName { format, name: name.clone() });
    }
    let mut before = HashMap::<UserId, Place>::new();
    let entries = found.into_iter().map(|Found { place, names, authenticator }| {
        let user = users.user(format, &names);
        let called = match &user {
            Ok(user) => Some(user.as_str().to_owned()),
            Err(_) => {
                let wanted = names.iter().filter(|(kind, _)| *kind == users.wanted(format));
                let mut names = wanted.chain(&names).map(|(_, name)| name);
                names.find(|name| UserId::parse(name).is_ok() && !is_uri(name)).cloned()
            }
        };
        let taken = authenticator.and_then(|authenticator| {
            let user = user?;
            match before.entry(user.clone()) {
                hash_map::Entry::Occupied(first) => Err(Skipped::Twice(*first.get())),
                hash_map::Entry::Vacant(first) => {
                    first.insert(place);
                    Ok((user, authenticator))
                }
            }
        });
        Entry { place, called, taken }
    });
    Ok(entries.collect())
}
