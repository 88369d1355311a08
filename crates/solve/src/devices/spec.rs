//! The documents of the Container Device Interface, version 1.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bld_sandbox::{Device, Mount, MountKind, Propagation};
use serde::Deserialize;
use serde_json::Value;

use super::registry::Entry;
use super::{DeviceError, Edits};

/// One file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    /// `vendor/class`.
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) devices: Vec<DeviceDocument>,
    #[serde(default)]
    pub(super) container_edits: ContainerEdits,
}

/// One device.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeviceDocument {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) container_edits: ContainerEdits,
}

/// What changes in a container.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerEdits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    mounts: Vec<MountDocument>,
    additional_gids: Vec<u32>,
    hooks: Vec<Value>,
    net_devices: Vec<Value>,
    intel_rdt: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeviceNode {
    path: String,
    host_path: Option<PathBuf>,
    permissions: Option<String>,
    file_mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MountDocument {
    host_path: PathBuf,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default)]
    r#type: String,
}

impl Document {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, DeviceError> {
        let malformed = |reason: String| DeviceError::Malformed { path: path.to_owned(), reason };
        let text = fs::read_to_string(path)
            .map_err(|source| DeviceError::Io { path: path.to_owned(), source })?;
        let document: Self = if path.extension().is_some_and(|kind| kind == "json") {
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?
        } else {
            serde_saphyr::from_str(&text).map_err(|error| malformed(error.to_string()))?
        };
        if document.kind.split('/').filter(|part| !part.is_empty()).count() != 2 {
            return Err(malformed(format!("the kind {:?} is not vendor/class", document.kind)));
        }
        Ok(document)
    }
}

impl ContainerEdits {
    /// Adds what is needed for the device `entry` to `edits`.
    pub(super) fn apply(&self, entry: &Entry, edits: &mut Edits) -> Result<(), DeviceError> {
        let unsupported = |what: String| DeviceError::Unsupported {
            device: entry.name.clone(),
            what,
            path: entry.path.clone(),
        };
        let missing = [
            (!self.hooks.is_empty(), "hooks"),
            (!self.net_devices.is_empty(), "network devices"),
            (self.intel_rdt.is_some(), "intelRdt"),
        ];
        if let Some((_, what)) = missing.into_iter().find(|(asked, _)| *asked) {
            return Err(unsupported(what.to_owned()));
        }
        for variable in &self.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            edits.env.push((name.to_owned(), value.to_owned()));
        }
        for node in &self.device_nodes {
            if node.file_mode.is_some() || node.uid.is_some() || node.gid.is_some() {
                return Err(unsupported(format!(
                    "an owner or a mode of its own for {}",
                    node.path
                )));
            }
            let permissions = node.permissions.as_deref().filter(|text| !text.is_empty());
            let may = |letter| permissions.is_none_or(|permissions| permissions.contains(letter));
            edits.nodes.push(Device {
                source: node.host_path.clone().unwrap_or_else(|| PathBuf::from(&node.path)),
                target: node.path.clone(),
                read: may('r'),
                write: may('w'),
                mknod: may('m'),
            });
        }
        for mount in &self.mounts {
            if !matches!(mount.r#type.as_str(), "" | "bind" | "none") {
                return Err(unsupported(format!("a mount of type {}", mount.r#type)));
            }
            let asked = |name: &str| mount.options.iter().any(|option| option == name);
            edits.mounts.push(Mount {
                kind: MountKind::Bind {
                    source: mount.host_path.clone(),
                    path: None,
                    read_only: asked("ro"),
                    recursive: asked("rbind"),
                    propagation: Propagation::Private,
                    own: false,
                },
                target: mount.container_path.clone(),
            });
        }
        // Group 0 is no addition, the specification says.
        edits.groups.extend(self.additional_gids.iter().filter(|group| **group != 0));
        Ok(())
    }
}
