//! Telling that something failed for want of space, and where.

use std::error::Error;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::Engine;
use crate::build::BuildError;

impl Engine {
    /// Where the file system of the store is mounted, if a build failed because there is no space
    /// left on it.
    pub fn is_full_for(&self, error: &BuildError) -> Option<PathBuf> {
        let full = match error {
            BuildError::Step { error, .. } => error.full || is_for_space(&error.cause),
            error => is_for_space(error),
        };
        full.then(|| mount_of(&self.config().root))
    }
}

/// Whether `error` or one of its causes is that there is no space left on a device.
///
/// By the text, which the system has one of for each number: errors that others pass on as their own
/// cannot be reached by their type.
pub fn is_for_space(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if ["o space left on", "quota exceeded"].iter().any(|words| text.contains(words)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Where the file system is mounted that `path` lies on.
pub fn mount_of(path: &Path) -> PathBuf {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let here = device(&path);
    let above = path.ancestors().take_while(|above| device(above) == here);
    above.last().unwrap_or(&path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_may_lie_deep() {
        let full = std::io::Error::from_raw_os_error(28);
        assert!(is_for_space(&full));
        let error = crate::EngineError::Io { action: "write", path: "x".into(), source: full };
        assert!(is_for_space(&error));
        let error = bld_store::StoreError::NoSpace { path: "/x".into() };
        assert!(is_for_space(&BuildError::from(crate::EngineError::from(error))));
        assert!(!is_for_space(&std::io::Error::from_raw_os_error(2)));
    }

    #[test]
    fn a_mount_is_found_from_below() {
        assert_eq!(mount_of(Path::new("/proc/self/status")), Path::new("/proc"));
        assert_eq!(mount_of(Path::new("/")), Path::new("/"));
    }
}
