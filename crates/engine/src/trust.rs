//! Which registries are trusted, by the settings of the engine: the same for all that speak to them.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bld_registry::Config;

use crate::error::IoContext as _;
use crate::{EngineConfig, Result};

/// How registries are spoken to, credentials apart.
pub(crate) fn registries(config: &EngineConfig) -> Result<Config> {
    let mut settings = Config { tls_verify: config.tls_verify, ..Config::default() };
    for dir in &config.certificate_dirs {
        for host in entries(dir).at("read", dir)? {
            let Some(name) = host.file_name().and_then(OsStr::to_str) else { continue };
            for file in entries(&host).at("read", &host)? {
                if file.extension().is_some_and(|extension| extension == "crt") {
                    let pem = fs::read(&file).at("read", &file)?;
                    let registry = settings.registries.entry(name.to_owned()).or_default();
                    registry.authorities.push(pem);
                }
            }
        }
    }
    Ok(settings)
}

/// What is in `dir`, sorted; nothing when it is no directory that we may look into.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(dir) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(Vec::new());
        }
        other => other?,
    };
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
