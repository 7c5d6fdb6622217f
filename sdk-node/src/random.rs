//! Random bytes for what is made in the process.

use twinlock_client::Error;

/// From the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::internal(format!("The operating system gives no random numbers: {error}."))
    })?;
    Ok(bytes)
}
