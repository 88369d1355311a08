//! `volume inspect`

use bld_engine::volumes::Volume;
use serde::Serialize;
use serde_json::Value;

/// A volume in docker's form.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Document {
    created_at: String,
    driver: &'static str,
    labels: Value,
    mountpoint: String,
    name: String,
    options: Value,
    scope: &'static str,
}

/// The document of `volume`.
pub(crate) fn document(volume: &Volume) -> Document {
    Document {
        created_at: super::time(volume.created),
        driver: "local",
        labels: super::labels(&volume.labels),
        mountpoint: volume.data.display().to_string(),
        name: volume.name.clone(),
        options: Value::Null,
        scope: "local",
    }
}
