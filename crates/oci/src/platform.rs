//! Platforms: their spellings, and which image fits which machine.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Descriptor;
use crate::descriptor::DescriptorExt as _;

/// An operating system on a CPU, in Go's words: `linux/amd64`, `linux/arm/v7`.
///
/// Parsing normalises spellings (`x86_64`, `aarch64`, `armhf`, `arm64/v8`), so that equal platforms
/// are equal values. `linux/arm64` stands for v8 and `linux/amd64` for v1; `linux/arm` becomes v7.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// Operating system.
    pub os: String,
    /// CPU architecture.
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system; Windows only.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
}

const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "wasip1",
    "windows",
    "zos",
];

const ARCHITECTURES: &[&str] = &[
    "386", "amd64", "arm", "arm64", "armbe", "arm64be", "loong64", "mips", "mipsle", "mips64",
    "mips64le", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64",
    "wasm",
];

impl Platform {
    /// The platform `os/architecture`, normalised.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        Self {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
            os_version: None,
        }
        .normalized()
    }

    /// Reads `os`, `arch`, `os/arch` or `os/arch/variant`; what is left out is the host's.
    ///
    /// # Errors
    /// [`PlatformError`] names what is wrong, and the word that was probably meant.
    pub fn parse(text: &str) -> Result<Self, PlatformError> {
        let syntax = || PlatformError::Syntax { platform: text.to_owned() };
        let mut parts = text.split('/');
        let first = parts.next().unwrap_or_default();
        // `windows(10.0.17763)/amd64` is how a version of the system is asked for.
        let (first, os_version) = match first.split_once('(') {
            Some((os, version)) => (os, Some(version.strip_suffix(')').ok_or_else(syntax)?)),
            None => (first, None),
        };
        let (second, variant) = (parts.next(), parts.next());
        let words = [Some(first), os_version, second, variant];
        if parts.next().is_some() || !words.into_iter().flatten().all(is_word) {
            return Err(syntax());
        }
        let mut platform = match second {
            Some(architecture) => Self::new(first, architecture, variant),
            None => Self::from_one_word(first)
                .ok_or_else(|| PlatformError::Unknown { platform: text.to_owned() })?,
        };
        platform.os_version = os_version.map(str::to_owned);
        Ok(platform)
    }

    /// A platform given by its system or its architecture alone.
    fn from_one_word(word: &str) -> Option<Self> {
        let host = Self::host();
        let as_os = Self::new(word, &host.architecture, host.variant.as_deref());
        if SYSTEMS.contains(&as_os.os.as_str()) {
            return Some(as_os);
        }
        let as_arch = Self::new(&host.os, word, None);
        ARCHITECTURES.contains(&as_arch.architecture.as_str()).then_some(as_arch)
    }

    /// The platform this program runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "mips64" if cfg!(target_endian = "little") => "mips64le",
            "loongarch64" => "loong64",
            other => other,
        };
        Self::new(std::env::consts::OS, architecture, None)
    }

    /// The same platform in its one spelling. An empty variant counts as none.
    #[must_use]
    pub fn normalized(&self) -> Self {
        let os = match self.os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            os => os.to_owned(),
        };
        let variant = self.variant.as_deref().unwrap_or_default().to_ascii_lowercase();
        let architecture = self.architecture.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("i386" | "i686" | "x86", variant) => ("386", variant),
            ("amd64" | "x86_64" | "x86-64", "v1") => ("amd64", ""),
            ("amd64" | "x86_64" | "x86-64", variant) => ("amd64", variant),
            ("arm64" | "aarch64", "8" | "v8" | "v8.0") => ("arm64", ""),
            ("arm64" | "aarch64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
            ("arm64" | "aarch64", variant) => ("arm64", variant),
            ("armhf", _) | ("arm", "" | "7") => ("arm", "v7"),
            ("armel", _) | ("arm", "6") => ("arm", "v6"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "8") => ("arm", "v8"),
            (architecture, variant) => (architecture, variant),
        };
        Self {
            os,
            architecture: architecture.to_owned(),
            variant: Some(variant.to_owned()).filter(|variant| !variant.is_empty()),
            os_version: self.os_version.clone().filter(|version| !version.is_empty()),
        }
    }

    /// Whether an image for this platform runs where `wanted` is asked for.
    ///
    /// True for the platform itself and for those it executes natively: lower variants of the same
    /// architecture, 386 on amd64, 32-bit arm on arm64.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        self.rank(wanted).is_some()
    }

    /// How far from `wanted` this platform is, 0 for the same; `None` when it does not run there.
    fn rank(&self, wanted: &Self) -> Option<usize> {
        let (this, wanted) = (self.normalized(), wanted.normalized());
        let version_fits = match (&this.os_version, &wanted.os_version) {
            (Some(this), Some(wanted)) => build_number(this) == build_number(wanted),
            _ => true,
        };
        if this.os != wanted.os || !version_fits {
            return None;
        }
        let this = (this.architecture.as_str(), this.variant.unwrap_or_default());
        let wanted_variant = wanted.variant.unwrap_or_default();
        runs_on(&wanted.architecture, &wanted_variant)
            .iter()
            .position(|(architecture, variant)| (*architecture, variant) == (this.0, &this.1))
    }

    /// The best of the manifests of an index for this platform, the first one on a tie.
    ///
    /// Attestations are never chosen. A sole image that does not say what it is for is taken at
    /// its word.
    pub fn choose<'a>(&self, manifests: &'a [Descriptor]) -> Option<&'a Descriptor> {
        let images = || manifests.iter().filter(|manifest| !manifest.is_attestation());
        let best = images()
            .filter_map(|manifest| Some((manifest.for_platform()?.rank(self)?, manifest)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, manifest)| manifest);
        let mut images = images();
        best.or_else(|| match (images.next(), images.next()) {
            (Some(sole), None) if sole.platform().is_none() => Some(sole),
            _ => None,
        })
    }

    /// The platforms that the manifests of an index are for, without attestations: what an error
    /// says when [`Platform::choose`] finds nothing.
    pub fn available(manifests: &[Descriptor]) -> Vec<Self> {
        manifests
            .iter()
            .filter(|manifest| !manifest.is_attestation())
            .filter_map(Descriptor::for_platform)
            .collect()
    }
}

/// The architectures and variants that execute on `architecture`, the best first.
fn runs_on<'a>(architecture: &'a str, variant: &str) -> Vec<(&'a str, String)> {
    let number = |text: &str| text.parse::<u32>().ok();
    let mut fits = vec![(architecture, variant.to_owned())];
    match architecture {
        "amd64" => {
            let level = variant.strip_prefix('v').and_then(number).unwrap_or(1);
            fits.extend((2..level).rev().map(|lower| (architecture, format!("v{lower}"))));
            if level > 1 {
                fits.push((architecture, String::new()));
            }
            fits.push(("386", String::new()));
        }
        "arm64" => {
            let (major, minor) = variant.split_once('.').unwrap_or((variant, "0"));
            let mut minor = number(minor).unwrap_or(0);
            if major == "v9" {
                fits.extend((1..minor).rev().map(|lower| (architecture, format!("v9.{lower}"))));
                if minor > 0 {
                    fits.push((architecture, "v9".to_owned()));
                }
                // Armv9.x contains Armv8.(x+5).
                minor += 6;
            }
            fits.extend((1..minor).rev().map(|lower| (architecture, format!("v8.{lower}"))));
            if !variant.is_empty() {
                fits.push((architecture, String::new()));
            }
            fits.extend((5..=8).rev().map(|lower| ("arm", format!("v{lower}"))));
        }
        "arm" => {
            let level = variant.strip_prefix('v').and_then(number).unwrap_or(5);
            fits.extend((5..level).rev().map(|lower| (architecture, format!("v{lower}"))));
        }
        _ => {}
    }
    fits
}

/// Windows runs containers of its own build only; the fourth number is the patch level.
fn build_number(version: &str) -> Vec<&str> {
    version.split('.').take(3).collect()
}

fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

impl fmt::Display for Platform {
    /// `os/architecture[/variant]`, which [`Platform::parse`] reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { os, architecture, variant, os_version } = self.normalized();
        f.write_str(&os)?;
        if let Some(version) = os_version {
            write!(f, "({version})")?;
        }
        write!(f, "/{architecture}")?;
        variant.map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        Self::parse(text)
    }
}

impl From<&oci_spec::image::Platform> for Platform {
    /// Drops the version of the system: the foreign type reads it under the wrong name
    /// (`os_version` for `os.version`), so it is never there.
    fn from(platform: &oci_spec::image::Platform) -> Self {
        let variant = platform.variant().as_deref();
        Self::new(&platform.os().to_string(), &platform.architecture().to_string(), variant)
    }
}

impl From<&Platform> for oci_spec::image::Platform {
    fn from(platform: &Platform) -> Self {
        let mut spec = Self::default();
        spec.set_os(platform.os.as_str().into());
        spec.set_architecture(platform.architecture.as_str().into());
        spec.set_variant(platform.variant.clone());
        spec
    }
}

/// Why a text is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// The text does not have the form of a platform.
    #[error("platform {platform:?} is not of the form os/architecture[/variant], e.g. linux/arm64")]
    Syntax {
        /// The text.
        platform: String,
    },
    /// A single word that is neither a system nor an architecture.
    #[error(
        "platform {platform:?} is neither an operating system nor an architecture, \
         write e.g. linux/amd64, linux/arm64 or linux/arm/v7"
    )]
    Unknown {
        /// The text.
        platform: String,
    },
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Platform::parse(text).unwrap().to_string()
    }

    #[test]
    fn spellings_are_normalised() {
        for (text, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("Linux/X86-64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm64/8", "linux/arm64"),
            ("linux/armhf", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
            ("windows(10.0.17763)/amd64", "windows(10.0.17763)/amd64"),
        ] {
            assert_eq!(parsed(text), normal, "{text}");
        }
    }

    #[test]
    fn one_word_is_completed_from_the_host() {
        let host = Platform::host();
        assert_eq!(Platform::parse("linux").unwrap().architecture, host.architecture);
        assert_eq!(Platform::parse("arm64").unwrap().architecture, "arm64");
        assert_eq!(Platform::parse("aarch64").unwrap().os, host.os);
        assert_eq!(Platform::parse(&host.to_string()).unwrap(), host);
    }

    #[test]
    fn errors_say_what_was_expected() {
        for text in ["", "/", "linux/", "linux/amd64/", "a/b/c/d", "linux/amd 64", "windows(10/x"] {
            let error = Platform::parse(text).unwrap_err();
            assert!(matches!(error, PlatformError::Syntax { .. }), "{text}: {error}");
        }
        assert!(matches!(Platform::parse("lunix"), Err(PlatformError::Unknown { .. })));
    }

    fn order(wanted: &str, offers: &[&str]) -> Vec<String> {
        let wanted = Platform::parse(wanted).unwrap();
        let mut fits: Vec<_> = offers
            .iter()
            .map(|offer| Platform::parse(offer).unwrap())
            .filter_map(|offer| Some((offer.rank(&wanted)?, offer.to_string())))
            .collect();
        fits.sort();
        fits.into_iter().map(|(_, offer)| offer).collect()
    }

    #[test]
    fn lower_variants_run_on_higher_ones() {
        assert_eq!(
            order(
                "linux/amd64/v3",
                &["linux/386", "linux/amd64", "linux/amd64/v2", "linux/amd64/v4"]
            ),
            ["linux/amd64/v2", "linux/amd64", "linux/386"]
        );
        assert_eq!(
            order(
                "linux/arm64",
                &["linux/arm/v6", "linux/arm/v7", "linux/arm64/v8", "linux/arm64/v9"]
            ),
            ["linux/arm64", "linux/arm/v7", "linux/arm/v6"]
        );
        assert_eq!(
            order("linux/arm64/v9.1", &["linux/arm64/v8.6", "linux/arm64/v8.7", "linux/arm64/v9"]),
            ["linux/arm64/v9", "linux/arm64/v8.6"]
        );
        assert_eq!(order("linux/arm/v6", &["linux/arm/v7", "linux/arm/v5"]), ["linux/arm/v5"]);
        assert!(order("linux/s390x", &["linux/amd64", "windows/s390x"]).is_empty());
    }

    #[test]
    fn windows_runs_its_own_build() {
        let fits = |offer: &str, wanted: &str| {
            Platform::parse(offer).unwrap().satisfies(&Platform::parse(wanted).unwrap())
        };
        assert!(fits("windows(10.0.17763.1)/amd64", "windows(10.0.17763.9)/amd64"));
        assert!(!fits("windows(10.0.14393.1)/amd64", "windows(10.0.17763.9)/amd64"));
        assert!(fits("windows(10.0.14393.1)/amd64", "windows/amd64"));
    }
}
