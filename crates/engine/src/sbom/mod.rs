//! What an image is made of: the packages that its databases and lock files name, as an SPDX
//! document.
//!
//! Nothing in the image is run, and nothing is looked up elsewhere. What is found depends on the
//! files alone, so the same image has the same document.

mod gobinary;
mod languages;
mod rpm;
mod spdx;
mod system;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use bld_event::Events;
use bld_layer::{Kind, LayerError, Node, View, Walk};
use serde_json::Value;

use crate::images::ImageContents;
use crate::{Engine, EngineError, Result};

/// Largest database or lock file that is read, bytes.
const FILE_MAX: u64 = 256 << 20;

/// Where rpm has its database.
const RPM: [&str; 2] = ["/var/lib/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite"];

/// A package that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package {
    /// The kind of package as package URLs call it, e.g. `deb`.
    pub(crate) kind: &'static str,
    /// Where the name is valid, e.g. `debian`; empty: anywhere.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its version; empty where it has none.
    pub(crate) version: String,
    /// More of the package URL: key and value.
    pub(crate) qualifiers: Vec<(&'static str, String)>,
    /// Its license as the file states it; empty: it states none.
    pub(crate) license: String,
    /// The file that names it.
    pub(crate) found_in: String,
}

impl Package {
    fn new(kind: &'static str, name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: String::new(),
            name: name.into(),
            version: version.into(),
            qualifiers: Vec::new(),
            license: String::new(),
            found_in: String::new(),
        }
    }
}

impl Engine {
    /// The packages in the image `name` of the store, as a document in SPDX 2.3.
    ///
    /// # Errors
    /// When there is no such image, or its files cannot be read. A file that is damaged is passed
    /// over: it is somebody else's, and the document says what was found.
    pub fn sbom(&self, name: &str, events: &Events) -> Result<Value> {
        document(&self.image_contents(name, events)?)
    }
}

/// The packages in `image`, as a document in SPDX 2.3.
pub(crate) fn document(image: &ImageContents) -> Result<Value> {
    let packages =
        scan(&image.files).map_err(|source| EngineError::Tree { path: "/".into(), source })?;
    let created = image.config.get("created").and_then(Value::as_str).unwrap_or_default();
    let shown = image
        .name
        .as_ref()
        .map_or_else(|| image.record.id.to_string(), bld_oci::Reference::familiar);
    Ok(spdx::document(&shown, &image.record.id, created, &packages))
}

/// All packages that the files of `view` name.
fn scan(view: &View) -> std::result::Result<BTreeSet<Package>, LayerError> {
    let distribution = system::Distribution::of(view)?;
    let mut found = BTreeSet::new();
    let mut visit = |node: &Node| -> std::result::Result<Walk, LayerError> {
        if node.meta.is_dir() {
            // What is mounted there at run time; in an image it is empty.
            let skip = ["/proc", "/sys", "/dev"].iter().any(|dir| node.path == Path::new(dir));
            return Ok(if skip { Walk::Past } else { Walk::Into });
        }
        if node.meta.kind != Kind::File {
            return Ok(Walk::Into);
        }
        let path = node.path.to_string_lossy().into_owned();
        let packages = match reader(&path) {
            Some(read) => contents(view, node)?.map(|bytes| read(&bytes, &distribution)),
            None if RPM.contains(&path.as_str()) => Some(rpm::packages(view, node, &distribution)?),
            None if node.meta.mode & 0o111 != 0 => gobinary::packages(view, node)?,
            None => None,
        };
        found.extend(
            packages
                .into_iter()
                .flatten()
                .map(|package| Package { found_in: path.clone(), ..package }),
        );
        Ok(Walk::Into)
    };
    if view.resolve("/")?.is_some() {
        view.walk("/", &mut visit)?;
    }
    Ok(found)
}

/// Reads the packages out of a file.
type Reader = fn(&[u8], &system::Distribution) -> Vec<Package>;

/// Who understands the file at `path`.
fn reader(path: &str) -> Option<Reader> {
    let (dir, name) = path.rsplit_once('/')?;
    Some(match name {
        "status" if dir == "/var/lib/dpkg" => system::dpkg,
        _ if dir == "/var/lib/dpkg/status.d" && !name.ends_with(".md5sums") => system::dpkg,
        "installed" if dir == "/lib/apk/db" || dir == "/usr/lib/apk/db" => system::apk,
        "package-lock.json" | ".package-lock.json" | "npm-shrinkwrap.json" => languages::npm,
        "package.json" if dir.contains("/node_modules/") => languages::node_module,
        "yarn.lock" => languages::yarn,
        "pnpm-lock.yaml" => languages::pnpm,
        "Cargo.lock" => languages::cargo,
        "go.mod" => languages::go_mod,
        "go.sum" => languages::go_sum,
        "requirements.txt" => languages::requirements,
        "METADATA" if dir.ends_with(".dist-info") => languages::python,
        "PKG-INFO" if dir.ends_with(".egg-info") => languages::python,
        "Gemfile.lock" => languages::gems,
        "composer.lock" => languages::composer,
        _ => return None,
    })
}

/// What is in a file; none: it is too large to be what its name says.
fn contents(view: &View, node: &Node) -> std::result::Result<Option<Vec<u8>>, LayerError> {
    let mut bytes = Vec::new();
    let read = view.open(node)?.take(FILE_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|source| LayerError::Stream { action: "read", source })?;
    Ok(Some(bytes).filter(|bytes| bytes.len() as u64 <= FILE_MAX))
}
