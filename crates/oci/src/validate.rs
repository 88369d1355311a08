//! The one checker that every producer of images is run through.

use std::fmt;
use std::io::{self, Read};

use oci_spec::image::{Descriptor, ImageManifest};

use crate::descriptor::DescriptorExt as _;
use crate::{
    Digest, HashingReader, Image, ImageConfig, ImageError, ImageExt as _, document, media_type,
};

/// Turns the bytes of a layer with this media type into a plain tar.
pub type Decode<'a> = &'a dyn Fn(&str, Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>>;

/// Reads all of `image` and checks that its parts agree: digests and sizes of the configuration
/// and of every layer, the diff ids, the number of history entries, and the media types.
///
/// Layers are decompressed by `decode`, since compression is not this crate's business.
///
/// # Errors
/// Every problem found, not only the first.
pub fn validate(image: &dyn Image, decode: Decode<'_>) -> Result<(), Vec<Problem>> {
    let mut problems = Vec::new();
    if let Err(fatal) = check(image, decode, &mut problems) {
        problems.push(fatal);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Collects problems; an `Err` is one that leaves nothing more to check.
fn check(
    image: &dyn Image,
    decode: Decode<'_>,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let unreadable = |part: Part| move |source: ImageError| Problem::Unreadable { part, source };
    let manifest = image.manifest_bytes().map_err(unreadable(Part::Manifest))?;
    let manifest = document::parse_manifest(&manifest)
        .map_err(|source| unreadable(Part::Manifest)(source.into()))?;
    check_media_types(&manifest, problems);

    let config = image.config_bytes().map_err(unreadable(Part::Config))?;
    let found = (Digest::of(&config), config.len() as u64);
    compare(Part::Config, manifest.config(), found, problems);
    let config = image.config().map_err(unreadable(Part::Config))?;
    check_config(&manifest, &config, problems);

    for (n, layer) in manifest.layers().iter().enumerate() {
        let part = Part::Layer(n);
        match read_layer(image, layer, decode) {
            Ok(read) => {
                compare(part, layer, read.blob, problems);
                let expected = config.rootfs.diff_ids.get(n).copied();
                if let Some(expected) = expected.filter(|&expected| expected != read.diff_id) {
                    problems.push(Problem::DiffId { layer: n, expected, found: read.diff_id });
                }
            }
            Err(source) => problems.push(Problem::Unreadable { part, source }),
        }
    }
    Ok(())
}

fn check_media_types(manifest: &ImageManifest, problems: &mut Vec<Problem>) {
    let mut wants = |part, descriptor: &Descriptor, fits: fn(&str) -> bool| {
        let media_type = descriptor.media_type().to_string();
        if !fits(&media_type) {
            problems.push(Problem::MediaType { part, media_type });
        }
    };
    wants(Part::Config, manifest.config(), media_type::is_config);
    for (n, layer) in manifest.layers().iter().enumerate() {
        wants(Part::Layer(n), layer, media_type::is_layer);
    }
}

fn check_config(manifest: &ImageManifest, config: &ImageConfig, problems: &mut Vec<Problem>) {
    let layers = manifest.layers().len();
    let counts = [
        ("diff ids", Some(config.rootfs.diff_ids.len())),
        // History is optional as a whole, but never partial.
        (
            "history entries with a layer",
            (!config.history.is_empty())
                .then(|| config.history.iter().filter(|entry| !entry.empty_layer).count()),
        ),
    ];
    for (what, found) in counts {
        if let Some(found) = found.filter(|&found| found != layers) {
            problems.push(Problem::Count { what, found, layers });
        }
    }
    let malformed = config.config.env.iter().filter(|entry| entry.find('=').unwrap_or(0) == 0);
    problems.extend(malformed.map(|entry| Problem::Env { entry: entry.clone() }));
    if config.rootfs.kind != "layers" {
        problems.push(Problem::RootFs { kind: config.rootfs.kind.clone() });
    }
}

fn compare(part: Part, wanted: &Descriptor, found: (Digest, u64), problems: &mut Vec<Problem>) {
    let expected = wanted.digest().to_string();
    if expected != found.0.to_string() {
        problems.push(Problem::Digest { part, expected, found: found.0 });
    }
    if wanted.size() != found.1 {
        problems.push(Problem::Size { part, expected: wanted.size(), found: found.1 });
    }
}

/// A layer that was read to its end.
struct ReadLayer {
    blob: (Digest, u64),
    diff_id: Digest,
}

/// Two readings, one hashing what is shipped and one what is in it: a decoder owns its reader, and
/// may stop before the last bytes.
fn read_layer(
    image: &dyn Image,
    layer: &Descriptor,
    decode: Decode<'_>,
) -> Result<ReadLayer, ImageError> {
    let drain = |reader: Box<dyn Read + Send>| -> io::Result<(Digest, u64)> {
        let mut reader = HashingReader::new(reader);
        io::copy(&mut reader, &mut io::sink())?;
        let (_, digest, count) = reader.finish();
        Ok((digest, count))
    };
    // An unreadable descriptor is reported as such, before anything is read by it.
    layer.sha256()?;
    let blob = drain(image.blob(layer)?)?;
    let plain = decode(layer.media_type().as_ref(), image.blob(layer)?)?;
    Ok(ReadLayer { blob, diff_id: drain(plain)?.0 })
}

/// The part of an image that a [`Problem`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The manifest.
    Manifest,
    /// The configuration.
    Config,
    /// The layer with this number; 0 is the lowest.
    Layer(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str("manifest"),
            Self::Config => f.write_str("configuration"),
            Self::Layer(n) => write!(f, "layer {n}"),
        }
    }
}

/// One way in which an image contradicts itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A part cannot be read.
    #[error("{part} cannot be read")]
    Unreadable {
        /// Which.
        part: Part,
        /// Why.
        source: ImageError,
    },
    /// A part is not what its descriptor names.
    #[error("{part} has digest {found}, its descriptor says {expected}")]
    Digest {
        /// Which.
        part: Part,
        /// What the descriptor says.
        expected: String,
        /// What the bytes have.
        found: Digest,
    },
    /// A part is not as long as its descriptor says.
    #[error("{part} has {found} bytes, its descriptor says {expected}")]
    Size {
        /// Which.
        part: Part,
        /// What the descriptor says.
        expected: u64,
        /// How long it is.
        found: u64,
    },
    /// A part has a media type that does not fit its place.
    #[error("{part} has the media type {media_type:?}")]
    MediaType {
        /// Which.
        part: Part,
        /// What its descriptor says.
        media_type: String,
    },
    /// A layer does not contain what the configuration says.
    #[error("layer {layer} has diff id {found}, the configuration says {expected}")]
    DiffId {
        /// Its number; 0 is the lowest.
        layer: usize,
        /// What the configuration says.
        expected: Digest,
        /// What the bytes have.
        found: Digest,
    },
    /// The configuration speaks of another number of layers than the manifest.
    #[error("configuration has {found} {what}, the manifest has {layers} layers")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        layers: usize,
    },
    /// A variable of the environment is not of the form `NAME=value`.
    #[error("environment entry {entry:?} is not of the form NAME=value")]
    Env {
        /// The entry as written.
        entry: String,
    },
    /// The configuration has a root filesystem that is not made of layers.
    #[error("root filesystem has the type {kind:?} instead of \"layers\"")]
    RootFs {
        /// The type as written.
        kind: String,
    },
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;
    use crate::{History, MemoryImage, Platform};

    #[expect(clippy::unnecessary_wraps, reason = "the signature is given by `Decode`")]
    fn plain(_: &str, reader: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
        Ok(reader)
    }

    fn image() -> MemoryImage {
        let mut config = ImageConfig::for_platform(&Platform::host());
        config.history =
            vec![History::default(), History { empty_layer: true, ..History::default() }];
        MemoryImage::new(config, vec![b"not really a tar".to_vec()]).unwrap()
    }

    fn problems(image: &MemoryImage) -> Vec<String> {
        let found = validate(image, &plain).err().unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sound_image_has_no_problems() {
        assert_eq!(problems(&image()), Vec::<String>::new());
    }

    #[test]
    fn a_changed_layer_is_found() {
        let mut image = image();
        image.blobs.values_mut().next().unwrap().push(b'!');
        let found = problems(&image);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("layer 0 has digest sha256:"), "{found:?}");
        assert_eq!(found[1], "layer 0 has 17 bytes, its descriptor says 16");
        assert!(found[2].starts_with("layer 0 has diff id sha256:"), "{found:?}");
    }

    #[test]
    fn a_missing_layer_and_a_foreign_config_are_both_found() {
        let mut image = image();
        image.blobs.clear();
        let mut config = image.config().unwrap();
        config.rootfs.diff_ids.clear();
        config.rootfs.kind = "floppies".to_owned();
        image.config = config.to_bytes();
        let found = problems(&image).join("\n");
        for part in [
            "configuration has digest",
            "configuration has 0 diff ids, the manifest has 1 layers",
            "root filesystem has the type \"floppies\"",
            "layer 0 cannot be read",
        ] {
            assert!(found.contains(part), "{part} not in:\n{found}");
        }
    }

    #[test]
    fn a_broken_manifest_ends_the_check() {
        let image = MemoryImage { manifest: b"{}".to_vec(), ..image() };
        assert_eq!(problems(&image), ["manifest cannot be read"]);
    }
}
