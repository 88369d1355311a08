//! The only owner of disk state. (Signatures; the bodies follow.)

mod error;
mod types;
mod api;

pub use api::*;
pub use error::{Result, StoreError};
pub use types::*;
