//! Runs the rules of Twinlock against a store.
//!
//! Plain Rust types go in and come out: this crate knows neither gRPC nor HTTP.

pub mod backup;
pub mod clock;
pub mod deadline;
pub mod engine;
pub mod entropy;
mod error;
pub mod events;
pub mod examine;
pub mod hash;
pub mod metrics;
pub mod reseal;
pub mod seal;
pub mod store;

pub use engine::{Call, ClientContext, Engine, Enrollment, LoginRequest, NewPassword, Proof};
pub use error::Error;

/// Makes a future in the box where it is to stay. `Box::pin` makes it on the stack and then copies all of it: 2 kB
/// for a call, and as much for each access to Redis.
#[macro_export]
macro_rules! boxed {
    ($future:expr) => {{
        let place = Box::new_uninit();
        let future = Box::write(place, $future);
        Box::into_pin(future)
    }};
}

/// The target of the spans that a call's parts are traced by. Their level is info, and no line of a log is
/// among them.
pub const SPANS: &str = "twinlock::trace";
