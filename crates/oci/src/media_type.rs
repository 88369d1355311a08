//! Media types of the image specification and of Docker, whose images are still the most common.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, not compressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// OCI descriptor without content: the two bytes `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// What Docker before 1.10 called its image configuration. Such images are still pulled.
pub const DOCKER_CONFIG_OLD: &str = "application/octet-stream";
/// Docker layer, gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// Docker layer, not compressed; seen in layouts written by other tools.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Docker layer, zstd; not registered by anybody, but written by some tools.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
/// Docker manifest, version 2 schema 1, which no registry serves by choice any more. Named so that
/// it can be refused with a clear message.
pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// How a layer blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayerCompression {
    /// A plain tar.
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Whether `media_type` is a list of manifests.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_INDEX)
}

/// Whether `media_type` is the manifest of one image.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Whether `media_type` is an image configuration.
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG | DOCKER_CONFIG_OLD)
}

/// Whether `media_type` is a filesystem layer.
pub fn is_layer(media_type: &str) -> bool {
    layer_compression(media_type).is_some()
}

/// How a layer of this media type is compressed, `None` when it is not a layer.
///
/// The old "nondistributable" and "foreign" layer types count as layers too.
pub fn layer_compression(media_type: &str) -> Option<LayerCompression> {
    let suffix = media_type
        .strip_prefix("application/vnd.oci.image.layer.v1.tar")
        .or_else(|| {
            media_type.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar")
        })
        .or_else(|| media_type.strip_prefix("application/vnd.docker.image.rootfs.diff.tar"))
        .or_else(|| {
            media_type.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar")
        })?;
    match suffix {
        "" => Some(LayerCompression::None),
        "+gzip" | ".gzip" => Some(LayerCompression::Gzip),
        "+zstd" | ".zstd" => Some(LayerCompression::Zstd),
        _ => None,
    }
}

/// Whether `text` has the form of a media type: `type/subtype` as RFC 6838, section 4.2, has it.
pub fn is_well_formed(text: &str) -> bool {
    let name = |part: &str| {
        let mut bytes = part.bytes();
        part.len() <= 127
            && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.split_once('/').is_some_and(|(kind, subtype)| name(kind) && name(subtype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_is_read_from_the_suffix() {
        assert_eq!(layer_compression(OCI_LAYER), Some(LayerCompression::None));
        assert_eq!(layer_compression(OCI_LAYER_ZSTD), Some(LayerCompression::Zstd));
        assert_eq!(layer_compression(DOCKER_LAYER_GZIP), Some(LayerCompression::Gzip));
        assert_eq!(layer_compression("application/vnd.oci.image.layer.v1.tar+encrypted"), None);
        assert_eq!(layer_compression(OCI_CONFIG), None);
        assert!(is_layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"));
    }

    #[test]
    fn kinds_do_not_overlap() {
        for kind in [OCI_MANIFEST, OCI_INDEX, OCI_CONFIG, OCI_LAYER, DOCKER_MANIFEST, DOCKER_INDEX]
        {
            let kinds = [is_index(kind), is_manifest(kind), is_config(kind), is_layer(kind)];
            assert_eq!(kinds.iter().filter(|&&is| is).count(), 1, "{kind}");
            assert!(is_well_formed(kind), "{kind}");
        }
        assert!(!is_well_formed("text"));
        assert!(!is_well_formed("/plain"));
        assert!(!is_well_formed(".text/plain"));
    }
}
