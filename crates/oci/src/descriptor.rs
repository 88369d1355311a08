//! What a [`Descriptor`] says, in this crate's types.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, MediaType};

use crate::{Digest, DigestError, Platform};

/// The annotation by which BuildKit marks a manifest of an index as an attestation.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Questions to a descriptor.
pub trait DescriptorExt {
    /// The digest.
    ///
    /// # Errors
    /// When it is not SHA-256.
    fn sha256(&self) -> Result<Digest, DigestError>;

    /// The platform of the image described, normalised; `None` when it is not said.
    fn for_platform(&self) -> Option<Platform>;

    /// The annotation `key`.
    fn annotation(&self, key: &str) -> Option<&str>;

    /// Whether this is no image but a statement about one (provenance, SBOM).
    fn is_attestation(&self) -> bool;
}

impl DescriptorExt for Descriptor {
    fn sha256(&self) -> Result<Digest, DigestError> {
        self.digest().as_ref().parse()
    }

    fn for_platform(&self) -> Option<Platform> {
        self.platform().as_ref().map(Platform::from)
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations().as_ref().and_then(|all: &HashMap<_, _>| all.get(key)).map(String::as_str)
    }

    fn is_attestation(&self) -> bool {
        // The platform is the mark of old; the annotation came later.
        self.annotation(REFERENCE_TYPE).is_some_and(|kind| kind == "attestation-manifest")
            || self.for_platform().is_some_and(|platform| {
                platform.os == "unknown" && platform.architecture == "unknown"
            })
    }
}

/// The descriptor of `size` bytes with this digest.
pub fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor::new(MediaType::from(media_type), size, sha256(digest))
}

/// The descriptor of `bytes`.
pub fn describe(media_type: &str, bytes: &[u8]) -> Descriptor {
    descriptor(media_type, Digest::of(bytes), bytes.len() as u64)
}

fn sha256(digest: Digest) -> oci_spec::image::Sha256Digest {
    use std::str::FromStr as _;
    #[expect(clippy::expect_used, reason = "a Digest always prints as 64 lowercase digits")]
    oci_spec::image::Sha256Digest::from_str(&digest.hex()).expect("64 lowercase digits")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn image(platform: &str) -> Descriptor {
        let mut image = describe("application/vnd.oci.image.manifest.v1+json", platform.as_bytes());
        image.set_platform(Some((&Platform::parse(platform).unwrap()).into()));
        image
    }

    #[test]
    fn the_digest_survives() {
        assert_eq!(describe("text/plain", b"x").sha256().unwrap(), Digest::of(b"x"));
    }

    #[test]
    fn attestations_are_no_images() {
        let unknown = image("unknown/unknown");
        let mut marked = image("linux/amd64");
        marked.set_annotations(Some(HashMap::from([(
            REFERENCE_TYPE.to_owned(),
            "attestation-manifest".to_owned(),
        )])));
        assert!(unknown.is_attestation() && marked.is_attestation());
        let wanted = Platform::parse("linux/amd64").unwrap();
        assert_eq!(wanted.choose(&[unknown.clone(), marked.clone()]), None);
        let real = image("linux/amd64");
        let index = [marked, image("linux/386"), real.clone(), unknown];
        assert_eq!(wanted.choose(&index), Some(&real));
        assert_eq!(Platform::available(&index).len(), 2);
    }

    #[test]
    fn a_sole_image_without_a_platform_is_taken() {
        let bare = describe("application/vnd.oci.image.manifest.v1+json", b"{}");
        let wanted = Platform::parse("linux/amd64").unwrap();
        let (one, two) = ([bare.clone()], [bare.clone(), bare.clone()]);
        assert_eq!(wanted.choose(&one), Some(&bare));
        assert_eq!(wanted.choose(&two), None);
        assert_eq!(wanted.choose(&[image("linux/s390x")]), None);
    }
}
