//! The store's answers for who has no runtime to await them in.

use virtual_shelly::store::{Done, StoreError};

/// Blocks until the writer answered.
pub trait Wait {
    fn wait(self) -> Result<(), StoreError>;
}

impl Wait for Done {
    fn wait(self) -> Result<(), StoreError> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(self)
    }
}
