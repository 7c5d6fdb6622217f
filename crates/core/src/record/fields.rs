//! Protobuf messages, read and written field by field.
//!
//! A record is read and written at every login. Messages of a library have a list of bytes of its own for each
//! digest in it, and drop the fields that they do not know. Those are a later release's, and losing one could mean
//! to forget a factor.

use super::NotARecord;

/// The greatest number of a field.
const LAST: u64 = (1 << 29) - 1;
const NUMBER: u64 = 0;
const CONTENT: u64 = 2;

/// The fields of a message, one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// A field.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    /// The whole field, its number included.
    pub(super) bytes: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Number(u64),
    /// Text, bytes or another message.
    Content(&'a [u8]),
    /// Of a kind that no record of this release has.
    Other,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, NotARecord>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.field())
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, NotARecord> {
        let begin = self.0;
        let key = self.varint()?;
        let number = key >> 3;
        if !(1..=LAST).contains(&number) {
            return Err(NotARecord);
        }
        // Groups, 3 and 4, were given up long ago, and no release writes them.
        let value = match key & 7 {
            NUMBER => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Other)?,
            CONTENT => {
                let length = self.varint()?;
                Value::Content(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Other)?,
            _ => return Err(NotARecord),
        };
        Ok(Field { number, bytes: &begin[..begin.len() - self.0.len()], value })
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], NotARecord> {
        let length = usize::try_from(length).map_err(|_| NotARecord)?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or(NotARecord)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, NotARecord> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(NotARecord)?;
            self.0 = rest;
            // Of the tenth byte, only the lowest bit is one of 64.
            if shift == 63 && byte > 1 {
                return Err(NotARecord);
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(NotARecord)
    }
}

impl<'a> Field<'a> {
    pub(super) fn varint(&self) -> Result<u64, NotARecord> {
        match self.value {
            Value::Number(number) => Ok(number),
            _ => Err(NotARecord),
        }
    }

    pub(super) fn content(&self) -> Result<&'a [u8], NotARecord> {
        match self.value {
            Value::Content(content) => Ok(content),
            _ => Err(NotARecord),
        }
    }
}

/// A message that is being written. Its fields come in the order of their numbers, and are left out where they have
/// no value or, but for those that say otherwise, that of 0 or nothing.
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn number(&mut self, field: u64, number: impl Into<u64>) {
        let number = number.into();
        self.optional_number(field, (number != 0).then_some(number));
    }

    /// A number that may be 0.
    pub(super) fn optional_number(&mut self, field: u64, number: Option<u64>) {
        if let Some(number) = number {
            self.key(field, NUMBER);
            self.varint(number);
        }
    }

    pub(super) fn content(&mut self, field: u64, content: &[u8]) {
        self.optional_content(field, (!content.is_empty()).then_some(content));
    }

    /// Bytes that may be none.
    pub(super) fn optional_content(&mut self, field: u64, content: Option<&[u8]>) {
        if let Some(content) = content {
            self.key(field, CONTENT);
            self.varint(content.len() as u64);
            self.0.extend_from_slice(content);
        }
    }

    /// A message within this one.
    pub(super) fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) {
        self.key(field, CONTENT);
        let begin = self.0.len();
        write(self);
        let end = self.0.len();
        // Its length, which is known by now, comes before it.
        self.varint((end - begin) as u64);
        let length = self.0.len() - end;
        self.0[begin..].rotate_right(length);
    }

    /// The number of the field that begins, and its kind.
    fn key(&mut self, field: u64, kind: u64) {
        self.varint(field << 3 | kind);
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}
