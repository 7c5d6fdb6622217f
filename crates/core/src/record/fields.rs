//! The fields of a protobuf message, as far as they can be told apart without knowing it.
//!
//! What reads records drops the fields that it does not know. They are a later release's, and losing one
//! could mean to forget a factor: so those of the record itself are kept as they are, and messages within it
//! never get new ones.

use super::NotARecord;

/// The fields of a message, one after the other: number and all its bytes.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

/// A field.
pub(super) struct Field<'a> {
    pub(super) number: u64,
    /// The whole field, its number included.
    pub(super) bytes: &'a [u8],
    /// The value of a field with a length: text, bytes or another message; else nothing.
    pub(super) content: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The next field; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, NotARecord> {
        let begin = self.0;
        if begin.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let mut content: &[u8] = &[];
        // Groups, 3 and 4, were given up long ago, and no release writes them.
        match key & 7 {
            0 => {
                self.varint()?;
            }
            1 => {
                self.take(8)?;
            }
            2 => {
                let length = self.varint()?;
                content = self.take(length)?;
            }
            5 => {
                self.take(4)?;
            }
            _ => return Err(NotARecord),
        }
        let bytes = &begin[..begin.len() - self.0.len()];
        Ok(Some(Field { number: key >> 3, bytes, content }))
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
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(NotARecord)
    }
}
