//! What an operator sees of a whole namespace.

use super::{Call, Engine};
use crate::backup::{Backup, Scope};
use crate::error::Error;
use crate::examine::Examination;

impl Engine {
    /// Begins a backup of the caller's namespace.
    ///
    /// # Errors
    /// Where the store does not answer or is not complete, or the keyring does not open its marker.
    pub async fn backup(&self, call: &Call) -> Result<Backup, Error> {
        let scope = Scope::Namespace(call.namespace.clone());
        Backup::begin(&*self.store, &self.keyring(), scope, call.deadline).await
    }

    /// Begins to open everything in the caller's namespace.
    pub fn examine(&self, call: &Call) -> Examination {
        Examination::new(self.store.clone(), Scope::Namespace(call.namespace.clone()))
    }
}
