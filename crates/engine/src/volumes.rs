//! Volumes: directories that outlive the containers that use them.
//!
//! A volume is `volumes/NAME/` in the store's root: its files in `_data`, and `volume.json` with
//! what was said when it was made.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bld_layer::copy::{CopyRequest, copy, select};
use bld_layer::{Kind, View};
use serde::{Deserialize, Serialize};

use crate::containers::{MountSource, names};
use crate::error::IoContext as _;
use crate::events::Event;
use crate::{Engine, EngineError, Result, images, tree};

const DATA: &str = "_data";
const ABOUT: &str = "volume.json";

/// One volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Volume {
    /// Its name; 64 hexadecimal digits when nobody named it.
    #[serde(skip)]
    pub name: String,
    /// Where its files are.
    #[serde(skip)]
    pub data: PathBuf,
    /// When it was made.
    #[serde(with = "crate::time")]
    pub created: SystemTime,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Nobody named it.
    pub anonymous: bool,
}

impl Volume {
    /// Bytes of its files.
    pub fn size(&self) -> u64 {
        tree::size(&self.data)
    }

    /// Gives an empty volume what `image` has at `path`: files, owner and mode.
    pub(crate) fn fill(&self, image: &View, path: &Path) -> Result<()> {
        let mut entries = fs::read_dir(&self.data).at("read", &self.data)?;
        if entries.next().is_some() {
            return Ok(());
        }
        let failed = |source| EngineError::Tree { path: path.to_owned(), source };
        let Some(dir) =
            image.resolve(path).map_err(failed)?.filter(|node| node.meta.kind == Kind::Dir)
        else {
            return Ok(());
        };
        let copied = select(image, path, &|pattern, name| pattern == name).and_then(|items| {
            let target = View::plain(self.data.clone());
            copy(&CopyRequest {
                source: image,
                items: &items,
                dest_view: &target,
                upper: &self.data,
                dest: Path::new("/"),
                owner: None,
                chmod: None,
                follow_dest_symlinks: true,
                mtime: None,
            })
        });
        copied.map_err(|source| EngineError::FillVolume { name: self.name.clone(), source })?;
        chown(&self.data, Some(dir.meta.uid), Some(dir.meta.gid))
            .at("set the owner of", &self.data)?;
        let mode = fs::Permissions::from_mode(dir.meta.mode);
        fs::set_permissions(&self.data, mode).at("set the mode of", &self.data)
    }
}

impl Engine {
    fn volumes_dir(&self) -> Result<PathBuf> {
        Ok(self.store()?.root().join("volumes"))
    }

    /// The volume `name`, made when missing.
    pub fn create_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<Volume> {
        if !names::is_valid(name) {
            return Err(EngineError::VolumeName { name: name.to_owned() });
        }
        self.make_volume(name, labels, false)
    }

    /// A new volume that nobody named.
    pub fn create_anonymous_volume(&self) -> Result<Volume> {
        let name = names::id().at("read", "/dev/urandom")?;
        self.make_volume(&name, &BTreeMap::new(), true)
    }

    fn make_volume(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
        anonymous: bool,
    ) -> Result<Volume> {
        match self.volume(name) {
            Err(EngineError::NoSuchVolume { .. }) => {}
            known => return known,
        }
        let dir = self.volumes_dir()?.join(name);
        let data = dir.join(DATA);
        fs::create_dir_all(&data).at("create", &data)?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&data, mode).at("set the mode of", &data)?;
        let volume = Volume {
            name: name.to_owned(),
            data,
            created: SystemTime::now(),
            labels: labels.clone(),
            anonymous,
        };
        let about = dir.join(ABOUT);
        let text = serde_json::to_vec(&volume).map_err(std::io::Error::from).at("write", &about)?;
        fs::write(&about, text).at("write", &about)?;
        self.announce([Event::volume("create", name)]);
        Ok(volume)
    }

    /// The volume `name`.
    pub fn volume(&self, name: &str) -> Result<Volume> {
        let missing = || EngineError::NoSuchVolume { name: name.to_owned() };
        if !names::is_valid(name) {
            return Err(missing());
        }
        let dir = self.volumes_dir()?.join(name);
        let about = dir.join(ABOUT);
        match fs::read(&about) {
            Ok(text) => {
                let volume: Volume = serde_json::from_slice(&text)
                    .map_err(std::io::Error::from)
                    .at("read", &about)?;
                Ok(Volume { name: name.to_owned(), data: dir.join(DATA), ..volume })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Err(missing()),
            Err(error) => Err(error).at("read", &about),
        }
    }

    /// All volumes, by name.
    pub fn volumes(&self) -> Result<Vec<Volume>> {
        let dir = self.volumes_dir()?;
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).at("read", &dir),
        };
        let mut volumes = Vec::new();
        for entry in entries {
            let name = entry.at("read", &dir)?.file_name().to_string_lossy().into_owned();
            match self.volume(&name) {
                Ok(volume) => volumes.push(volume),
                // Being made, or being removed, right now.
                Err(EngineError::NoSuchVolume { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Ids of the containers that use the volume `name`.
    pub fn volume_users(&self, name: &str) -> Result<Vec<String>> {
        let uses = |source: &MountSource| matches!(source, MountSource::Volume { name: used, .. } if used == name);
        let mut users = self.all_containers()?;
        users.retain(|container| container.mounts.iter().any(|mount| uses(&mount.source)));
        Ok(users.into_iter().map(|container| container.id).collect())
    }

    /// Removes the volume `name`, which no container may use; with `force`, one that does not exist
    /// is fine.
    pub fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        let volume = match self.volume(name) {
            Err(EngineError::NoSuchVolume { .. }) if force => return Ok(()),
            volume => volume?,
        };
        let users = self.volume_users(&volume.name)?;
        if !users.is_empty() {
            return Err(EngineError::VolumeInUse { name: volume.name, users });
        }
        let dir = self.volumes_dir()?.join(&volume.name);
        // First what makes it a volume: half-removed ones are not listed.
        let about = dir.join(ABOUT);
        fs::remove_file(&about).at("remove", &about)?;
        fs::remove_dir_all(&dir).at("remove", &dir)?;
        self.announce([Event::volume("destroy", &volume.name)]);
        Ok(())
    }

    /// Removes the volumes nobody uses and that have all of `labels` and none of `without`; those
    /// with a name only if `all`.
    pub fn prune_volumes(
        &self,
        all: bool,
        labels: &[(String, Option<String>)],
        without: &[(String, Option<String>)],
    ) -> Result<crate::containers::Pruned> {
        let mut pruned = crate::containers::Pruned::default();
        for volume in self.volumes()? {
            let wanted = (all || volume.anonymous)
                && images::list::matches_labels(&volume.labels, labels)
                && images::list::lacks_labels(&volume.labels, without);
            if wanted && self.volume_users(&volume.name)?.is_empty() {
                pruned.bytes += volume.size();
                self.remove_volume(&volume.name, true)?;
                pruned.removed.push(volume.name);
            }
        }
        Ok(pruned)
    }
}
