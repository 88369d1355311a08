//! Further names.

use super::find;
use crate::{Engine, EngineError, Result};

impl Engine {
    /// Gives the image `source`, or all those of several platforms that it stands for, the name
    /// `target`, which another image loses if it has it.
    pub fn tag_image(&self, source: &str, target: &str) -> Result<()> {
        let reference = find::parse(target)?;
        if reference.digest().is_some() {
            return Err(EngineError::TagWithDigest { reference: target.to_owned() });
        }
        let store = self.store()?;
        let found = find::find(self, source)?;
        let source = found.reference.map(|reference| reference.to_string()).unwrap_or_default();
        let (name, id) = (reference.to_string(), found.record.id);
        match store.variants(&source)?.as_slice() {
            [] => store.tag(&name, &id, None)?,
            variants => store.tag_variants(&name, variants, &id)?,
        }
        self.announce_image("tag", &id, &reference.familiar());
        Ok(())
    }
}
