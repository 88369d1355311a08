//! Packages of distributions: dpkg and apk.

use bld_layer::{LayerError, View};

use super::Package;

/// Longest `os-release` that is read, bytes.
const OS_RELEASE_MAX: u64 = 64 << 10;

/// Which distribution an image is.
#[derive(Debug, Default)]
pub(super) struct Distribution {
    /// `ID`, e.g. `debian`; empty: it is not said.
    pub(super) id: String,
    /// `VERSION_ID`, e.g. `12`; empty: it is not said.
    pub(super) version: String,
}

impl Distribution {
    /// That of a tree, by its `os-release`.
    pub(super) fn of(view: &View) -> Result<Self, LayerError> {
        let mut found = Self::default();
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            // One that is too long says nothing.
            let Some(text) = view.read(path, OS_RELEASE_MAX).or_else(|error| match error {
                LayerError::TooLarge { .. } => Ok(None),
                error => Err(error),
            })?
            else {
                continue;
            };
            for line in String::from_utf8_lossy(&text).lines() {
                let value =
                    |key| Some(line.strip_prefix(key)?.trim_matches(['"', '\'']).to_owned());
                if let Some(id) = value("ID=") {
                    found.id = id;
                } else if let Some(version) = value("VERSION_ID=") {
                    found.version = version;
                }
            }
            break;
        }
        Ok(found)
    }

    /// A package of this distribution.
    pub(super) fn package(
        &self,
        kind: &'static str,
        otherwise: &str,
        (name, version, architecture): (String, String, String),
    ) -> Package {
        let id = if self.id.is_empty() { otherwise } else { &self.id };
        let mut package = Package::new(kind, name, version);
        id.clone_into(&mut package.namespace);
        if !architecture.is_empty() {
            package.qualifiers.push(("arch", architecture));
        }
        if !self.version.is_empty() {
            package.qualifiers.push(("distro", format!("{id}-{}", self.version)));
        }
        package
    }
}

/// dpkg's status file: of each package a paragraph of fields.
pub(super) fn dpkg(bytes: &[u8], distribution: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    let paragraphs = text.split("\n\n").filter_map(|paragraph| {
        let field = |name: &str| {
            let line =
                paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|value| value.trim().to_owned())
        };
        // Of what was removed, the configuration may be there still. Files in `status.d` have none.
        if field("Status").is_some_and(|status| !status.ends_with(" installed")) {
            return None;
        }
        let fields =
            (field("Package")?, field("Version")?, field("Architecture").unwrap_or_default());
        Some(distribution.package("deb", "debian", fields))
    });
    paragraphs.collect()
}

/// apk's database: of each package a paragraph of fields that have one letter.
pub(super) fn apk(bytes: &[u8], distribution: &Distribution) -> Vec<Package> {
    let text = String::from_utf8_lossy(bytes);
    let paragraphs = text.split("\n\n").filter_map(|paragraph| {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
        let fields = (
            field("P:")?.to_owned(),
            field("V:")?.to_owned(),
            field("A:").unwrap_or_default().to_owned(),
        );
        let license = field("L:").unwrap_or_default().to_owned();
        Some(Package { license, ..distribution.package("apk", "alpine", fields) })
    });
    paragraphs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian() -> Distribution {
        Distribution { id: "debian".to_owned(), version: "12".to_owned() }
    }

    #[test]
    fn dpkg_knows_what_is_installed() {
        let status = "Package: a\nStatus: install ok installed\nArchitecture: amd64\n\
            Version: 1:2.0-1\nDescription: x\n Version: 9\n\nPackage: gone\n\
            Status: deinstall ok config-files\nVersion: 1\n";
        let found = dpkg(status.as_bytes(), &debian());
        let arch = ("arch", "amd64".to_owned());
        let distro = ("distro", "debian-12".to_owned());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].version.as_str()), ("a", "1:2.0-1"));
        assert_eq!(found[0].qualifiers, [arch, distro]);
    }

    #[test]
    fn apk_states_licenses() {
        let installed = "C:Q1x\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\nF:lib\n\nP:half\n\n";
        let found = apk(installed.as_bytes(), &Distribution::default());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].namespace.as_str(), found[0].license.as_str()), ("alpine", "MIT"));
    }
}
