//! How registries are reached and which are trusted, by the settings of the engine: the same for all
//! that speak to them.

mod containers;
mod hosts;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bld_registry::{Config, Identity, RegistryConfig, RegistryError, Rule};

use crate::error::IoContext as _;
use crate::{EngineConfig, Result};

pub(crate) use containers::ShortNames;

/// How registries are spoken to, credentials apart.
///
/// What is wrong with the settings of one registry is found in them as its fault, so that it keeps
/// nobody from using another one.
pub(crate) fn registries(config: &EngineConfig) -> Result<Config> {
    let mut settings = Config { tls_verify: config.tls_verify, ..Config::default() };
    let mut described = BTreeSet::new();
    for dir in &config.certificate_dirs {
        for host in entries(dir).at("read", dir)? {
            let Some(name) = host.file_name().and_then(OsStr::to_str).map(registry_of) else {
                continue;
            };
            let mut found = settings.registries.get(&name).cloned().unwrap_or_default();
            let file = host.join("hosts.toml");
            let read = match fs::read_to_string(&file) {
                Ok(_) if described.contains(&name) => continue,
                Ok(text) => {
                    described.insert(name.clone());
                    hosts::read(&text, &name, &host, &mut found)
                        .map_err(|reason| format!("{}: {reason}", file.display()))
                }
                Err(error) if is_absent(&error) => certificates(&host, &mut found),
                Err(error) => Err(unreadable(&file, &error)),
            };
            if let Err(reason) = read {
                found.fault.get_or_insert(reason);
            }
            if found != RegistryConfig::default() {
                settings.registries.insert(name, found);
            }
        }
    }
    let rules = containers::read(&config.registries_conf);
    settings.rules = rules.map_err(|reason| RegistryError::Config { reason })?.rules;
    for rule in &mut settings.rules {
        // What hosts.toml says of a registry counts, but for what must not be used.
        let host = rule.prefix.split('/').next().unwrap_or_default();
        if described.contains(host) {
            let (prefix, blocked) = (std::mem::take(&mut rule.prefix), rule.blocked);
            *rule = Rule { prefix, blocked, ..Rule::default() };
        }
    }
    for name in &config.insecure_registries {
        // What counts for all others counts for this one, too.
        let default = settings.registries.get(bld_registry::ALL_OTHERS).cloned();
        let found = settings.registries.entry(name.clone()).or_insert(default.unwrap_or_default());
        found.insecure = true;
    }
    Ok(settings)
}

/// What names without a registry stand for.
///
/// # Errors
/// What is wrong with the files that say it.
pub(crate) fn short_names(config: &EngineConfig) -> std::result::Result<ShortNames, String> {
    Ok(containers::read(&config.registries_conf)?.names)
}

/// The registry that a directory called `name` is for. Some file systems have no colons in names.
fn registry_of(name: &str) -> String {
    let port = name.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
    match port.filter(|(_, port)| port.parse::<u16>().is_ok()) {
        Some((host, port)) => format!("{host}:{port}"),
        None => name.to_owned(),
    }
}

/// Takes up the certificates in a directory of Docker's or podman's: authorities are `*.crt`, and
/// `NAME.cert` with `NAME.key` is what we show.
fn certificates(dir: &Path, settings: &mut RegistryConfig) -> Result<(), String> {
    let files = entries(dir).map_err(|error| unreadable(dir, &error))?;
    let extension = |file: &Path| file.extension().and_then(OsStr::to_str).map(str::to_owned);
    for file in &files {
        match extension(file).as_deref() {
            Some("crt") => settings.authorities.push(read(file)?),
            Some("cert") => {
                let key = file.with_extension("key");
                if !files.contains(&key) {
                    let what = "missing key for the client certificate";
                    return Err(format!("{what} {}: {}", file.display(), key.display()));
                }
                // Of several directories, the first counts.
                let known = settings.identity.take();
                settings.identity = Some(known.map_or_else(|| identity(file, &key), Ok)?);
            }
            Some("key") if !files.contains(&file.with_extension("cert")) => {
                let what = "missing client certificate for the key";
                return Err(format!("{what} {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads a certificate of ours and its key.
fn identity(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let refused = |error: String| format!("{}: {error}", certificate.display());
    let key = read(key)?;
    Identity::new(&read(certificate)?, &key).map_err(|error| refused(error.to_string()))
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| unreadable(file, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
    )
}

/// What is in `dir`, sorted; nothing when it is no directory that we may look into.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(dir) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        other => other?,
    };
    let mut paths = read.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_called_after_registries() {
        assert_eq!(registry_of("r.example:5000"), "r.example:5000");
        assert_eq!(registry_of("r.example_5000_"), "r.example:5000");
        assert_eq!(registry_of("_default"), "_default");
        assert_eq!(registry_of("r.example"), "r.example");
    }
}
