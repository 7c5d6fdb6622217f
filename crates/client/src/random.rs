//! The randomness of a client: ids that nobody can guess, and jitter.

use data_encoding::HEXLOWER;

use crate::Error;

/// 128 random bits as 32 hexadecimal digits: within the 16 to 64 printable characters that the API
/// takes.
pub(crate) fn request_id() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::internal(format!("The operating system gives no random numbers: {error}."))
    })?;
    Ok(HEXLOWER.encode(&bytes))
}

/// Evenly spread over 0 to 1. Without randomness there is no jitter, which harms nobody.
pub(crate) fn fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_of_the_form_and_differ() {
        let (first, second) = (request_id().unwrap(), request_id().unwrap());
        assert_eq!(first.len(), 32);
        assert!(first.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(first, second);
    }
}
