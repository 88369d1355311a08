//! Further names.

use super::find;
use crate::{Engine, EngineError, Result};

impl Engine {
    /// Gives the image `source` the name `target`, which another image loses if it has it.
    pub fn tag_image(&self, source: &str, target: &str) -> Result<()> {
        let reference = find::parse(target)?;
        if reference.digest().is_some() {
            return Err(EngineError::TagWithDigest { reference: target.to_owned() });
        }
        let store = self.store()?;
        let image = find::find(store, source)?.record;
        Ok(store.tag(&reference.to_string(), &image.id, None)?)
    }
}
