//! Values of single flags.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bld_engine::containers::{
    DeviceMapping, IoKind, IoRate, Resource, RestartCondition, RestartPolicy, Sharing,
    is_namespaced,
};

use crate::error::Failure;
use crate::output::units::parse_size;

/// The lines of a file of variables or labels, without comments.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("open {}: {error}", path.display())))?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    Ok(lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

/// `NAME=value`, or `NAME` for the value it has here; nothing when it has none.
pub(super) fn variable(word: &str) -> Option<String> {
    if word.contains('=') {
        return Some(word.to_owned());
    }
    std::env::var(word).ok().map(|value| format!("{word}={value}"))
}

/// `key=value`, or `key` with an empty value.
pub(super) fn label(word: &str) -> (String, String) {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    (key.to_owned(), value.to_owned())
}

/// `80`, `53/udp`, `7000-7010`: with its protocol.
pub(super) fn port(word: &str) -> String {
    if word.contains('/') { word.to_lowercase() } else { format!("{word}/tcp") }
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`.
pub(in crate::commands) fn host(word: &str) -> Result<(String, String), Failure> {
    let invalid = || Failure::new(format!("bad format for add-host: {word:?}"));
    let (name, address) =
        word.split_once('=').or_else(|| word.split_once(':')).ok_or_else(invalid)?;
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if name.is_empty() {
        return Err(invalid());
    }
    if bare != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return Err(Failure::new(format!("invalid IP address in add-host: {address:?}")));
    }
    Ok((name.to_owned(), bare.to_owned()))
}

/// A size, or -1 for no limit.
pub(in crate::commands) fn swap(word: &str) -> Result<i64, String> {
    if word == "-1" { Ok(-1) } else { parse_size(word).map(u64::cast_signed) }
}

/// `NAME=SOFT[:HARD]`, -1 for no limit.
pub(in crate::commands) fn ulimit(word: &str) -> Result<(String, u64, u64), String> {
    let invalid = || format!("invalid ulimit argument: {word}");
    let (name, limits) = word.split_once('=').ok_or_else(invalid)?;
    if Resource::from_name(name).is_none() {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        text => text.parse::<u64>().map_err(|_| invalid()),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok((name.to_owned(), soft, hard))
}

/// `no`, `always`, `unless-stopped`, `on-failure[:TRIES]`.
pub(in crate::commands) fn restart(word: &str) -> Result<RestartPolicy, Failure> {
    let (name, tries) = word.split_once(':').unwrap_or((word, ""));
    let (name, maximum_retry_count) = match (name, tries) {
        ("no", "") => (RestartCondition::No, 0),
        ("always", "") => (RestartCondition::Always, 0),
        ("unless-stopped", "") => (RestartCondition::UnlessStopped, 0),
        ("on-failure", "") => (RestartCondition::OnFailure, 0),
        ("on-failure", tries) => {
            let most = tries.parse();
            let most = most.map_err(|_| Failure::new("maximum retry count must be an integer"))?;
            (RestartCondition::OnFailure, most)
        }
        _ => return Err(Failure::new(format!("invalid restart policy '{word}'"))),
    };
    Ok(RestartPolicy { name, maximum_retry_count })
}

/// `KEY=VALUE`; a seccomp profile is named by its file, and what is in it is kept.
pub(super) fn security(word: &str) -> Result<String, Failure> {
    let (key, value) = word.split_once(['=', ':']).unwrap_or((word, ""));
    if value.is_empty() && key != "no-new-privileges" {
        return Err(Failure::new(format!("Invalid --security-opt: {word:?}")));
    }
    if key != "seccomp" || matches!(value, "unconfined" | "builtin") {
        return Ok(word.to_owned());
    }
    let failed =
        |why: String| Failure::new(format!("opening seccomp profile ({value}) failed: {why}"));
    let text = fs::read_to_string(value).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed(format!("open {value}: no such file or directory")),
        _ => failed(error.to_string()),
    })?;
    let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        Failure::new(format!("compacting json for seccomp profile ({value}) failed: {error}"))
    })?;
    Ok(format!("seccomp={profile}"))
}

/// `DEVICE:NUMBER`, for bytes with a unit if need be.
pub(super) fn rate(kind: IoKind, word: &str) -> Result<IoRate, Failure> {
    let is_bytes = matches!(kind, IoKind::ReadBytes | IoKind::WriteBytes);
    let invalid = || {
        let (unit, note) = if is_bytes {
            ("[<unit>]", ". Unit is optional and can be kb, mb, or gb")
        } else {
            ("", "")
        };
        Failure::new(format!(
            "invalid rate for device: {word}. The correct format is <device-path>:<number>{unit}. \
             Number must be a positive integer{note}"
        ))
    };
    let (device, number) =
        word.split_once(':').ok_or_else(|| Failure::new(format!("bad format: {word}")))?;
    if !device.starts_with("/dev/") {
        return Err(Failure::new(format!("bad format for device path: {word}")));
    }
    let rate = if is_bytes { parse_size(number).ok() } else { number.parse().ok() };
    Ok(IoRate { device: PathBuf::from(device), kind, rate: rate.ok_or_else(invalid)? })
}

/// Whose shared memory it is.
pub(super) fn ipc(word: &str) -> Result<Sharing, String> {
    match word {
        "" | "private" | "shareable" | "host" => Ok(Sharing::from(word.to_owned())),
        other => donor(other).ok_or_else(|| format!("invalid IPC mode: {other}")),
    }
}

/// Whose processes they are.
pub(super) fn pid(word: &str) -> Result<Sharing, String> {
    match word {
        "" | "host" => Ok(Sharing::from(word.to_owned())),
        other => donor(other).ok_or_else(|| "invalid PID mode".to_owned()),
    }
}

/// `container:NAME`
fn donor(word: &str) -> Option<Sharing> {
    let name = word.strip_prefix("container:").filter(|name| !name.is_empty())?;
    Some(Sharing::Container(name.to_owned()))
}

/// Whether it is the host's.
pub(super) fn uts(word: &str) -> Result<bool, String> {
    match word {
        "" => Ok(false),
        "host" => Ok(true),
        _ => Err("invalid UTS mode".to_owned()),
    }
}

/// A kernel parameter that exists once for each container.
pub(super) fn sysctl(word: &str) -> Result<String, String> {
    if is_namespaced(label(word).0.as_str(), true) {
        Ok(word.to_owned())
    } else {
        Err(format!("sysctl '{word}' is not allowed"))
    }
}

/// Whether it has one of its own: docker's word for that, or podman's.
pub(super) fn userns(word: &str) -> Result<bool, String> {
    match word {
        "" | "host" => Ok(false),
        "private" | "auto" => Ok(true),
        _ => Err("invalid USER mode".to_owned()),
    }
}

/// An OCI runtime, by path, or by name on `PATH` and where administrators have programs; none for ours,
/// which has docker's name for its own.
pub(super) fn runtime(word: &str) -> Result<Option<PathBuf>, Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    if word.is_empty() || word == "io.containerd.runc.v2" {
        return Ok(None);
    }
    let fits = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let found = if word.contains('/') {
        std::path::absolute(word).ok().filter(fits)
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs = std::env::split_paths(&path)
            .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from));
        dirs.filter(|dir| dir.is_absolute()).map(|dir| dir.join(word)).find(fits)
    };
    let unknown = || {
        Failure::new(format!("unknown or invalid runtime name: {word}"))
            .with_hint("give the path of an OCI runtime, or the name of one that is installed")
    };
    found.map(Some).ok_or_else(unknown)
}

/// `SOURCE[:TARGET[:PERMISSIONS]]`.
pub(super) fn device(word: &str) -> Result<DeviceMapping, Failure> {
    let invalid = || Failure::new(format!("invalid device specification: {word}"));
    let is_permissions = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let parts: Vec<&str> = word.split(':').collect();
    let (source, target, permissions) = match parts.as_slice() {
        [source] => (source, source, "rwm"),
        [source, permissions] if is_permissions(permissions) => (source, source, *permissions),
        [source, target] => (source, target, "rwm"),
        [source, target, permissions] if is_permissions(permissions) => {
            (source, target, *permissions)
        }
        _ => return Err(invalid()),
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        return Err(invalid());
    }
    Ok(DeviceMapping {
        source: PathBuf::from(source),
        target: (*target).to_owned(),
        permissions: permissions.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ulimits_have_two_ends() {
        assert_eq!(ulimit("nofile=123:456"), Ok(("nofile".into(), 123, 456)));
        assert_eq!(ulimit("core=-1"), Ok(("core".into(), u64::MAX, u64::MAX)));
        assert!(ulimit("nofile=5:4").is_err() && ulimit("nofile").is_err());
    }

    #[test]
    fn rates_have_a_device_and_a_number() {
        let bytes = rate(IoKind::ReadBytes, "/dev/vda:2mb").ok();
        assert!(bytes.is_some_and(|r| r.rate == 2 << 20 && r.device == Path::new("/dev/vda")));
        assert!(rate(IoKind::Writes, "/dev/vda:30").is_ok_and(|r| r.rate == 30));
        for wrong in ["/dev/vda", "vda:3", "/dev/vda:x", "/dev/vda:1kb"] {
            assert!(rate(IoKind::Writes, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn restart_policies() {
        let on_failure = restart("on-failure:3");
        assert!(
            on_failure
                .is_ok_and(|p| p.name == RestartCondition::OnFailure && p.maximum_retry_count == 3)
        );
        assert!(restart("always:3").is_err() && restart("sometimes").is_err());
    }

    #[test]
    fn hosts_devices_and_ports() {
        assert_eq!(host("db:10.1.2.3").ok(), Some(("db".into(), "10.1.2.3".into())));
        assert_eq!(host("db=::1").ok(), Some(("db".into(), "::1".into())));
        assert!(host("db").is_err() && host("db:nowhere").is_err());
        let null = device("/dev/null:/dev/x:r").ok();
        assert!(null.is_some_and(|d| d.target == "/dev/x" && d.permissions == "r"));
        assert!(device("null").is_err());
        assert_eq!((port("80"), port("53/UDP")), ("80/tcp".to_owned(), "53/udp".to_owned()));
    }
}
