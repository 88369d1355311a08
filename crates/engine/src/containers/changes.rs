//! What a container changed of the image it was made from.

use std::io::ErrorKind;
use std::path::PathBuf;

use bld_layer::{Change, LayerError, Times, View, changes, differences};

use crate::{Engine, EngineError, Result};

/// How often a tree is looked at again that changed meanwhile.
const RETRIES: usize = 10;

impl Engine {
    /// The paths that are not in the container `name` what they are in its image, sorted, with what became
    /// of them. What a mount shows is no change. The container may be running.
    pub fn container_changes(&self, name: &str) -> Result<Vec<(PathBuf, Change)>> {
        let container = self.find_container(name)?;
        let store = self.store()?;
        let layer = store.container(&container.id)?.and_then(|container| container.layer);
        let layer = layer.ok_or_else(|| EngineError::NoSuchContainer { name: name.to_owned() })?;
        let layers = store.layers(layer)?;
        let image = layers.split_last().map(|(_, image)| image.to_vec()).unwrap_or_default();
        let (image, now) = (View::new(image), View::new(layers));
        let mut found = differences(&image, &now, Times::Exact);
        for _ in 0..RETRIES {
            // Files of a container that runs come and go.
            let Err(LayerError::Io { source, .. }) = &found else { break };
            if source.kind() != ErrorKind::NotFound {
                break;
            }
            found = differences(&image, &now, Times::Exact);
        }
        let found =
            found.map_err(|source| EngineError::Tree { path: PathBuf::from("/"), source })?;
        Ok(changes(&found).into_iter().map(|(path, change)| (path.to_owned(), change)).collect())
    }
}
