//! All descriptions of devices on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::DeviceError;
use super::spec::{ContainerEdits, Document};

/// By which other name a device can be asked for; BuildKit's.
const CLASS: &str = "org.mobyproject.buildkit.device.class";

/// Whether nobody has to allow the device; BuildKit's.
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

/// The devices there are, by full name.
#[derive(Debug, Default)]
pub(super) struct Registry(BTreeMap<String, Entry>);

/// One device.
#[derive(Debug)]
pub(super) struct Entry {
    /// `vendor/class=name`.
    pub(super) name: String,
    /// The file that describes it.
    pub(super) path: PathBuf,
    /// What every device of that file needs.
    pub(super) common: ContainerEdits,
    /// What this one needs.
    pub(super) edits: ContainerEdits,
    annotations: BTreeMap<String, String>,
}

impl Entry {
    /// Whether its description says that steps may have it unasked.
    pub(super) fn is_for_everyone(&self) -> bool {
        let value = self.annotations.get(AUTO_ALLOW);
        value.is_some_and(|value| {
            matches!(value.as_str(), "1" | "t" | "T" | "true" | "True" | "TRUE")
        })
    }
}

impl Registry {
    /// Reads all files of `dirs`; directories that do not exist are as good as empty.
    pub(super) fn read(dirs: &[PathBuf]) -> Result<Self, DeviceError> {
        let mut registry = Self::default();
        for dir in dirs {
            for path in files(dir)? {
                registry.add(Document::read(&path)?, &path);
            }
        }
        Ok(registry)
    }

    fn add(&mut self, document: Document, path: &Path) {
        for device in document.devices {
            let name = format!("{}={}", document.kind, device.name);
            let mut annotations = document.annotations.clone();
            annotations.extend(device.annotations);
            let entry = Entry {
                name: name.clone(),
                path: path.to_owned(),
                common: document.container_edits.clone(),
                edits: device.container_edits,
                annotations,
            };
            self.0.insert(name, entry);
        }
    }

    /// The devices that `name` stands for: a full name; a kind, for the first of it; a kind and
    /// `=*`, for all of it; a class; nothing, for all there are.
    pub(super) fn find(&self, name: &str) -> Vec<&Entry> {
        let (kind, device) = name.split_once('=').unwrap_or((name, ""));
        let of_kind = || {
            let entries = self.0.values();
            entries.filter(move |entry| entry.name.split_once('=').is_some_and(|(k, _)| k == kind))
        };
        let found: Vec<&Entry> = match device {
            _ if name.is_empty() => self.0.values().collect(),
            "" => of_kind().take(1).collect(),
            "*" => of_kind().collect(),
            _ => self.0.get(name).into_iter().collect(),
        };
        if !found.is_empty() {
            return found;
        }
        let of_class = |entry: &&Entry| entry.annotations.get(CLASS).is_some_and(|c| c == name);
        self.0.values().filter(of_class).collect()
    }

    /// All full names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The descriptions in `dir`, by name.
fn files(dir: &Path) -> Result<Vec<PathBuf>, DeviceError> {
    let failed = |source| DeviceError::Io { path: dir.to_owned(), source };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|kind| kind == "json" || kind == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
