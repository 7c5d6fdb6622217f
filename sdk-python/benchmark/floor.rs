//! What the package is measured against, in the same process as the package: a module with the least that a
//! verification can cost, and the calls of the bare Rust client.

use pyo3::prelude::*;

#[pymodule]
mod python_floor {
    use hmac::{Hmac, KeyInit, Mac};
    use pyo3::exceptions::PyRuntimeError;
    use pyo3::prelude::*;
    use sha1::Sha1;
    use tokio::runtime::Builder;
    use twinlock_client::proto::DescribeUserRequest;
    use twinlock_client::{Client, Options};
    use twinlock_core::totp::Secret;

    /// A call into Rust with two texts and a number, and the HMACs of three steps. Nothing is checked, reported
    /// or raised.
    #[pyfunction]
    fn verify(secret: &str, code: &str, now: u64) -> bool {
        let Ok(secret) = Secret::parse_base32(secret) else { return false };
        let code: u32 = code.parse().unwrap_or_default();
        let Ok(keyed) = Hmac::<Sha1>::new_from_slice(secret.expose()) else { return false };
        let step = now / 30;
        let mut found = false;
        for step in [step - 1, step, step + 1] {
            let mut mac = keyed.clone();
            mac.update(&step.to_be_bytes());
            let hash = mac.finalize().into_bytes();
            let offset = usize::from(hash[19] & 0xf);
            let bytes = [hash[offset], hash[offset + 1], hash[offset + 2], hash[offset + 3]];
            found |= (u32::from_be_bytes(bytes) & 0x7fff_ffff) % 1_000_000 == code;
        }
        found
    }

    /// Asks the server for a user so many times, one after the other, without Python in between.
    #[pyfunction]
    fn describe_user(py: Python<'_>, address: String, times: u32) -> PyResult<()> {
        let failed = |error: String| PyRuntimeError::new_err(error);
        py.detach(|| {
            // As in the package: one thread drives the connection, and the caller waits on its own.
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            runtime.block_on(async {
                let options = Options { address, ..Options::default() };
                let client =
                    Client::connect_lazy(&options).map_err(|error| failed(error.message))?;
                for _ in 0..times {
                    let request = DescribeUserRequest { user_id: "nobody".into() };
                    client.describe_user(request).await.map_err(|error| failed(error.message))?;
                }
                Ok(())
            })
        })
    }
}
