//! Build arguments with a meaning of their own.

/// Chooses the checks, instead of the directive of the file.
pub(crate) const CHECK: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// Sets the namespace of the ids of cache mounts.
pub(crate) const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// Sets the host name of every `RUN`.
pub(crate) const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";

/// Fixes the time of the build.
pub(crate) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// May be declared, but no `RUN` ever sees them.
pub(crate) const INVISIBLE: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Of use without being declared, besides the proxies.
pub(crate) const BUILTIN: &[&str] = &[
    "BUILDKIT_BUILD_NAME",
    CACHE_NAMESPACE,
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    CHECK,
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    HOSTNAME,
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
    "BUILDKIT_SYNTAX",
    EPOCH,
];

/// The proxies, in upper case.
pub(crate) const PROXIES: &[&str] =
    &["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
