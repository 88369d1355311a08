//! `cache inspect`

use bld_engine::caches::Cache;
use serde::Serialize;

/// A cache mount.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Document {
    id: String,
    key: String,
    variant: String,
    mountpoint: String,
    size: u64,
    created_at: String,
    last_used_at: String,
    in_use: bool,
}

/// The document of `cache`.
pub(crate) fn document(cache: &Cache, in_use: bool) -> Document {
    Document {
        id: cache.id.clone(),
        key: cache.key.clone(),
        variant: cache.variant.clone(),
        mountpoint: cache.dir.display().to_string(),
        size: cache.size(),
        created_at: super::time(cache.created),
        last_used_at: super::time(cache.used),
        in_use,
    }
}
