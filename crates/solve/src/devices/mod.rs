//! Devices by name: `RUN --device`, in the terms of the [Container Device Interface][cdi].
//!
//! Vendors describe in files what a container needs to use a device: nodes, variables, mounts. A
//! step names devices, the caller of the build grants them, and what the files say is added to the
//! step's process. Nothing of it is part of a key but the name.
//!
//! [cdi]: https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md

mod registry;
mod spec;

use std::path::PathBuf;

use bld_dockerfile::suggest;
use bld_graph::DeviceOp;
use bld_sandbox::{Device, Mount};

use registry::{Entry, Registry};

/// The devices of the machine, and which of them steps may have.
#[derive(Debug, Clone, Default)]
pub struct Devices {
    /// Directories with descriptions; what a later one says of a device counts.
    pub dirs: Vec<PathBuf>,
    /// What the caller allows.
    pub granted: Vec<Granted>,
}

/// Something the caller allows, `--allow device[=NAME[,alias=ALIAS]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// Every device.
    All,
    /// The devices that this name stands for.
    Named(String),
    /// The first device, where a step asks for the second name.
    Alias {
        /// What the machine calls it.
        device: String,
        /// What the Dockerfile calls it.
        name: String,
    },
}

/// Why a step cannot have a device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No file describes it.
    #[error("there is no device {name:?} on this machine{}", there_are(.known, .similar.as_deref()))]
    Unknown {
        /// As asked for.
        name: String,
        /// The devices there are.
        known: Vec<String>,
        /// The nearest of them.
        similar: Option<String>,
    },
    /// The caller does not allow it.
    #[error(
        "the step asks for the device {0:?}, which is not allowed: if you trust this Dockerfile, build with `--allow device={0}`"
    )]
    NotAllowed(String),
    /// Its description asks for something that is not done here.
    #[error("the device {device:?} needs {what}, which is not supported ({})", .path.display())]
    Unsupported {
        /// The device.
        device: String,
        /// What it needs.
        what: String,
        /// The file that says so.
        path: PathBuf,
    },
    /// A file of descriptions makes no sense.
    #[error("{}: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of descriptions, or their directory, cannot be read.
    #[error("read {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

fn there_are(known: &[String], similar: Option<&str>) -> String {
    match (known, similar) {
        ([], _) => ": nothing describes any".to_owned(),
        (_, Some(similar)) => format!(" (did you mean {similar}?)"),
        (known, None) => format!(": there are {}", known.join(", ")),
    }
}

/// What devices add to a process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Edits {
    /// Variables, later ones over earlier ones.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) nodes: Vec<Device>,
    pub(crate) mounts: Vec<Mount>,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    /// Names of devices that are not there and can be done without.
    pub(crate) missing: Vec<String>,
}

impl Devices {
    /// What the devices that a step asks for add to it. Those that it can do without and are not
    /// there add nothing.
    pub(crate) fn edits(&self, wanted: &[DeviceOp]) -> Result<Edits, DeviceError> {
        let mut edits = Edits::default();
        if wanted.is_empty() {
            return Ok(edits);
        }
        let registry = Registry::read(&self.dirs)?;
        let mut found: Vec<&Entry> = Vec::new();
        for device in wanted {
            let alias = self.granted.iter().find_map(|granted| match granted {
                Granted::Alias { device: real, name } if *name == device.name => Some(real),
                _ => None,
            });
            let entries = registry.find(alias.unwrap_or(&device.name));
            if entries.is_empty() {
                if device.required {
                    return Err(unknown(&registry, &device.name));
                }
                edits.missing.push(device.name.clone());
            }
            for entry in entries {
                if alias.is_none() && !self.allows(&registry, entry) {
                    return Err(DeviceError::NotAllowed(entry.name.clone()));
                }
                if !found.iter().any(|known| known.name == entry.name) {
                    found.push(entry);
                }
            }
        }
        // What a file says for all its devices is said once.
        let mut files: Vec<&PathBuf> = Vec::new();
        for entry in found {
            if !files.contains(&&entry.path) {
                files.push(&entry.path);
                entry.common.apply(entry, &mut edits)?;
            }
            entry.edits.apply(entry, &mut edits)?;
        }
        Ok(edits)
    }

    fn allows(&self, registry: &Registry, entry: &Entry) -> bool {
        entry.is_for_everyone()
            || self.granted.iter().any(|granted| match granted {
                Granted::All => true,
                Granted::Named(name) => {
                    registry.find(name).iter().any(|known| known.name == entry.name)
                }
                Granted::Alias { .. } => false,
            })
    }
}

fn unknown(registry: &Registry, name: &str) -> DeviceError {
    let known: Vec<String> = registry.names().map(str::to_owned).collect();
    let similar = suggest(name, known.iter().map(String::as_str)).map(str::to_owned);
    DeviceError::Unknown { name: name.to_owned(), known, similar }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::fs;

    use super::*;

    const JSON: &str = r#"{"cdiVersion": "0.6.0", "kind": "example.org/gadget",
        "containerEdits": {"env": ["COMMON=1"]},
        "devices": [
            {"name": "one", "containerEdits": {"env": ["ONE=1"], "deviceNodes": [{"path": "/dev/null"}]}},
            {"name": "two", "annotations": {"org.mobyproject.buildkit.device.class": "toy",
                "org.mobyproject.buildkit.device.autoallow": "true"},
             "containerEdits": {"env": ["TWO=2", "ONE=2"], "additionalGids": [7, 0]}},
            {"name": "with-hooks", "containerEdits": {"hooks": [{"hookName": "createRuntime", "path": "/x"}]}}]}"#;

    fn devices(granted: Vec<Granted>) -> (tempfile::TempDir, Devices) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("gadget.json"), JSON).unwrap();
        fs::write(dir.path().join("README"), "no description").unwrap();
        let dirs = vec!["/nonexistent".into(), dir.path().to_owned()];
        (dir, Devices { dirs, granted })
    }

    fn ask(devices: &Devices, name: &str, required: bool) -> Result<String, String> {
        let op = DeviceOp { name: name.to_owned(), required };
        let edits = devices.edits(&[op]).map_err(|error| error.to_string())?;
        let env: Vec<_> = edits.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Ok(format!("{} {} {:?}", env.join(" "), edits.nodes.len(), edits.groups))
    }

    #[test]
    fn names_kinds_patterns_and_classes_find_devices() {
        let (_dir, all) = devices(vec![Granted::All]);
        assert_eq!(ask(&all, "example.org/gadget=one", true).unwrap(), "COMMON=1 ONE=1 1 []");
        assert_eq!(ask(&all, "example.org/gadget", true).unwrap(), "COMMON=1 ONE=1 1 []");
        assert_eq!(ask(&all, "toy", true).unwrap(), "COMMON=1 TWO=2 ONE=2 0 [7]");
        let hooked = ask(&all, "example.org/gadget=*", true).unwrap_err();
        assert!(hooked.contains("gadget=with-hooks\" needs hooks"), "{hooked}");
    }

    #[test]
    fn what_is_missing_is_an_error_only_where_it_is_required() {
        let (_dir, all) = devices(vec![Granted::All]);
        assert_eq!(ask(&all, "example.org/gadget=three", false).unwrap(), " 0 []");
        let error = ask(&all, "example.org/gadget=tow", true).unwrap_err();
        assert!(error.contains("did you mean example.org/gadget=two?"), "{error}");
        let nothing = ask(&Devices::default(), "example.org/gadget=one", true).unwrap_err();
        assert!(nothing.contains("nothing describes any"), "{nothing}");
    }

    #[test]
    fn a_device_has_to_be_allowed_by_name_or_by_its_description() {
        let (_dir, none) = devices(Vec::new());
        let error = ask(&none, "example.org/gadget=one", false).unwrap_err();
        assert!(error.contains("--allow device=example.org/gadget=one"), "{error}");
        assert!(ask(&none, "toy", true).is_ok());
        let (_dir, named) = devices(vec![Granted::Named("example.org/gadget=one".into())]);
        assert!(ask(&named, "example.org/gadget", true).is_ok());
        let alias = Granted::Alias { device: "example.org/gadget=one".into(), name: "it".into() };
        let (_dir, alias) = devices(vec![alias]);
        assert!(
            ask(&alias, "it", true).is_ok() && ask(&alias, "example.org/gadget", true).is_err()
        );
    }

    #[test]
    fn later_directories_count_and_yaml_is_read_too() {
        let (_dir, mut devices) = devices(vec![Granted::All]);
        let later = tempfile::tempdir().unwrap();
        let yaml = "cdiVersion: 0.6.0\nkind: example.org/gadget\ndevices:\n- name: one\n  \
                    containerEdits:\n    env: [ONE=yaml]\n    mounts:\n    - hostPath: /etc/hostname\n      \
                    containerPath: /m\n      options: [ro, bind]\n";
        fs::write(later.path().join("gadget.yaml"), yaml).unwrap();
        devices.dirs.push(later.path().to_owned());
        assert_eq!(ask(&devices, "example.org/gadget=one", true).unwrap(), "ONE=yaml 0 []");
        assert!(ask(&devices, "example.org/gadget=two", true).is_ok());
        fs::write(later.path().join("bad.json"), "{").unwrap();
        let error = ask(&devices, "example.org/gadget=two", true).unwrap_err();
        assert!(error.contains("bad.json"), "{error}");
    }
}
