//! Attestations in directories: those that an index lists.

use bld_oci::document::parse_manifest;
use bld_oci::{DescriptorExt as _, Digest};
use serde_json::Value;

use super::read::index_of;
use super::{Attestation, IN_TOTO, REFERENCE_DIGEST};
use crate::imagetools::Layout;
use crate::{EngineError, Result};

/// What is said about an image of a layout.
///
/// # Errors
/// What the directory lacks, or has spoilt.
pub(super) fn attestations(layout: &Layout) -> Result<Vec<Attestation>> {
    let named = layout.resolve()?;
    let malformed = |problem: &dyn std::fmt::Display| EngineError::Archive {
        problem: format!("{layout}: {problem}"),
    };
    let mut found = Vec::new();
    if !named.is_index() {
        return Ok(found);
    }
    for entry in index_of(&named)?.iter().filter(|entry| entry.is_attestation()) {
        let subject = entry.annotation(REFERENCE_DIGEST).and_then(|text| text.parse().ok());
        let digest: Digest = entry.sha256().map_err(|error| malformed(&error))?;
        let document = parse_manifest(&layout.read(digest)?).map_err(|error| malformed(&error))?;
        for layer in document.layers() {
            if layer.media_type().as_ref() != IN_TOTO {
                continue;
            }
            let digest = layer.sha256().map_err(|error| malformed(&error))?;
            let statement: Value =
                serde_json::from_slice(&layout.read(digest)?).map_err(|error| malformed(&error))?;
            let predicate_type = statement["predicateType"].as_str().unwrap_or_default().to_owned();
            let subject = subject.unwrap_or(named.digest);
            found.push(Attestation { predicate_type, digest, subject, statement });
        }
    }
    Ok(found)
}
