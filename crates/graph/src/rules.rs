//! The names of the checks that need the build environment, and of special build arguments.

/// A variable is used that nobody declared.
pub(crate) const UNDEFINED_VAR: &str = "UndefinedVar";
/// A `FROM` uses an argument that no `ARG` before the first `FROM` declares.
pub(crate) const UNDEFINED_ARG_IN_FROM: &str = "UndefinedArgInFrom";
/// With the defaults of all arguments a `FROM` names no valid image.
pub(crate) const INVALID_DEFAULT_ARG_IN_FROM: &str = "InvalidDefaultArgInFrom";
/// `FROM --platform=$TARGETPLATFORM` says what is the default anyway.
pub(crate) const REDUNDANT_TARGET_PLATFORM: &str = "RedundantTargetPlatform";
/// The base image is for another platform than asked for.
pub(crate) const INVALID_BASE_IMAGE_PLATFORM: &str = "InvalidBaseImagePlatform";
/// `.dockerignore` keeps a file out of the context that is to be copied from it.
pub(crate) const COPY_IGNORED_FILE: &str = "CopyIgnoredFile";
/// `WORKDIR` is relative to one that only the base image sets.
pub(crate) const WORKDIR_RELATIVE_PATH: &str = "WorkdirRelativePath";

/// Build arguments that steer the builder and are never set in the environment of a `RUN`.
pub(crate) const STEERING_ARGS: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Build arguments that are of use without being declared, besides those of the proxies.
pub(crate) const BUILTIN_ARGS: &[&str] = &[
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_DOCKERFILE_CHECK",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_MULTI_PLATFORM",
    "BUILDKIT_SANDBOX_HOSTNAME",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
    "BUILDKIT_SYNTAX",
    "SOURCE_DATE_EPOCH",
];

/// The proxy variables, in upper case.
pub(crate) const PROXIES: &[&str] =
    &["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];
