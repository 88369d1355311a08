//! What turns out not to be had where it was seen.

use std::collections::HashSet;

use bld_cache::Place;
use bld_oci::Digest;
use bld_registry::RegistryError;
use bld_store::LayerSource;

use crate::EngineError;
use crate::error::in_one_line;

/// What cannot be had.
#[derive(Debug, Clone, Default)]
pub(super) struct Lost {
    /// Blobs.
    pub(super) blobs: HashSet<Digest>,
    /// Places that do not answer, as the store has them.
    pub(super) places: HashSet<String>,
}

/// Whether the place does not answer, however often it is asked: so it is with all that is there.
pub(super) fn is_about_the_network(error: &EngineError) -> bool {
    match error {
        EngineError::Registry(error) => {
            matches!(**error, RegistryError::Unreachable { .. } | RegistryError::Interrupted { .. })
        }
        _ => false,
    }
}

/// Why a layer cannot be had.
pub(super) struct Gone {
    diff_id: Digest,
    places: Vec<String>,
    reason: String,
}

impl Gone {
    pub(super) fn new(diff_id: Digest) -> Self {
        Self { diff_id, places: Vec::new(), reason: "nothing is known of where it is".to_owned() }
    }

    pub(super) fn from(&mut self, source: &LayerSource, error: &EngineError) {
        let place = Place::from_text(&source.place);
        self.places.push(place.map_or_else(|| source.place.clone(), |place| place.to_string()));
        self.reason = in_one_line(error);
    }
}

impl From<Gone> for EngineError {
    fn from(gone: Gone) -> Self {
        let Gone { diff_id, mut places, reason } = gone;
        places.dedup();
        if places.is_empty() {
            places.push("anywhere".to_owned());
        }
        Self::LayerGone { diff_id, places, reason }
    }
}
