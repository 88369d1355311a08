//! Names in OCI image layouts, see image-layout.md of the OCI image specification.

use std::path::{Path, PathBuf};

use crate::Digest;

/// Content of the file `oci-layout`.
pub const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// The annotation by which containerd, BuildKit and docker give an image its full name.
pub const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation of the specification: a tag, or whatever the writer liked.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The directory of the blobs in the layout `dir`.
pub fn blobs(dir: &Path) -> PathBuf {
    dir.join("blobs/sha256")
}

/// The file of a blob in the layout `dir`.
pub fn blob(dir: &Path, digest: &Digest) -> PathBuf {
    blobs(dir).join(digest.hex())
}
