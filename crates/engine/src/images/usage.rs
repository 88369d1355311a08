//! How much images take, and how much of that several have.

use std::collections::HashMap;

use bld_oci::Digest;

use super::details::layer_sizes;
use super::{ImageFilter, ImageSummary};
use crate::{Engine, Result};

/// What all images take.
#[derive(Debug, Clone, Default)]
pub struct ImageUsage {
    /// Each image, newest first, with how many of its bytes other images have as well.
    pub images: Vec<(ImageSummary, u64)>,
    /// Bytes of all layers, those that several images have once.
    pub bytes: u64,
}

impl Engine {
    /// What the images take, unpacked. A layer counts as shared where the same one lies on the same
    /// ones below it.
    pub fn image_usage(&self) -> Result<ImageUsage> {
        let store = self.store()?;
        let images = self.images(&ImageFilter::default())?;
        let mut sizes = Vec::with_capacity(images.len());
        for image in &images {
            sizes.push(layer_sizes(store, &image.record)?);
        }
        let mut layers: HashMap<&[Digest], (u64, usize)> = HashMap::new();
        for (image, sizes) in images.iter().zip(&sizes) {
            for (n, size) in sizes.iter().enumerate() {
                layers.entry(&image.record.layers[..=n]).or_insert((*size, 0)).1 += 1;
            }
        }
        let shared = |image: &ImageSummary| {
            let stacks = (1..=image.record.layers.len()).map(|n| &image.record.layers[..n]);
            let layers = stacks.filter_map(|stack| layers.get(stack));
            layers.filter(|(_, users)| *users > 1).map(|(size, _)| size).sum()
        };
        let shared: Vec<u64> = images.iter().map(shared).collect();
        let bytes = layers.values().map(|(size, _)| size).sum();
        Ok(ImageUsage { images: images.into_iter().zip(shared).collect(), bytes })
    }
}
