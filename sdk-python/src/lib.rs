//! The native half of the Python package `twinlock`: conversions between Python and Rust, and how a call is
//! waited for. What is decided is decided in `twinlock-core`, what is sent in `twinlock-client`.

mod call;
mod clock;
mod connection;
mod convert;
mod failure;
mod local;
mod mailbox;
mod process;
mod watch;

use pyo3::prelude::*;

/// The native half of `twinlock`. Private: use the modules of the package.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::call::Call;
    #[pymodule_export]
    use crate::connection::Connection;
    #[pymodule_export]
    use crate::failure::probe;
    #[pymodule_export]
    use crate::local::{
        backoff_check, backoff_wait, build_uri, generate, generate_recovery_key, generate_secret,
        hash_recovery_key, parse_uri, qr_svg, verify, verify_recovery_key,
    };
    #[pymodule_export]
    use crate::mailbox::Mailbox;
    #[pymodule_export]
    use crate::watch::Watch;
}
