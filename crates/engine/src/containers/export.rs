//! The files of a container on their way out.

use std::io::Write;
use std::path::PathBuf;

use bld_layer::{TarOptions, View, write_tree};

use crate::{Engine, EngineError, Result};

impl Engine {
    /// Writes the files of the container `name` as one tar. What a mount shows is not among them.
    /// The container may be running.
    ///
    /// # Errors
    /// [`EngineError::NoSuchContainer`]; [`EngineError::Tree`] when files cannot be read, or change
    /// while they are.
    pub fn export_container(&self, name: &str, out: &mut dyn Write) -> Result<()> {
        let container = self.find_container(name)?;
        let store = self.store()?;
        let layer = store.container(&container.id)?.and_then(|container| container.layer);
        let layer = layer.ok_or_else(|| EngineError::NoSuchContainer { name: name.to_owned() })?;
        write_tree(&View::new(store.layers(layer)?), out, &TarOptions::default())
            .map_err(|source| EngineError::Tree { path: PathBuf::from("/"), source })?;
        self.announce_container(&container, "export");
        Ok(())
    }
}
