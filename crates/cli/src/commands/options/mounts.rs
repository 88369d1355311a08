//! `--volume`, `--mount` and `--tmpfs`.

use std::path::{Path, PathBuf};

use bld_engine::containers::{Mount, MountSource, Propagation};

use crate::error::Failure;
use crate::output::units::parse_size;

/// All mounts of a command line.
pub(super) fn all(
    volumes: &[String],
    mounts: &[String],
    tmpfs: &[String],
) -> Result<Vec<Mount>, Failure> {
    let volumes = volumes.iter().map(|word| volume(word));
    let mounts = mounts.iter().map(|word| mount(word));
    volumes.chain(mounts).chain(tmpfs.iter().map(|word| memory(word))).collect()
}

/// `[SOURCE:]TARGET[:OPTIONS]`: a path makes a bind mount, a name a volume, neither a new volume.
fn volume(word: &str) -> Result<Mount, Failure> {
    let invalid = |why: &str| Failure::new(format!("invalid volume specification: '{word}'{why}"));
    let parts: Vec<&str> = word.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [source, target] if !source.is_empty() => (*source, *target, ""),
        [source, target, options] if !source.is_empty() => (*source, *target, *options),
        _ => return Err(invalid("")),
    };
    if !target.starts_with('/') {
        let kind = if is_path(source) { "bind" } else { "volume" };
        return Err(invalid(&format!(
            ": invalid mount config for type \"{kind}\": invalid mount path: '{target}' mount path \
             must be absolute"
        )));
    }
    if target.trim_matches('/').is_empty() {
        return Err(invalid(": destination can't be '/'"));
    }
    let (mut read_only, mut copy, mut propagation) = (false, true, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "readonly" => read_only = true,
            "nocopy" => copy = false,
            // Labels and promises that make no difference here.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            other => match passes(other) {
                Some(known) if propagation.is_none() => propagation = Some(known),
                _ => return Err(Failure::new(format!("invalid mode: {other}"))),
            },
        }
    }
    let source = if is_path(source) {
        MountSource::Bind {
            path: absolute(Path::new(source))?,
            create: true,
            propagation: propagation.unwrap_or_default(),
            shallow: false,
        }
    } else if propagation.is_some() {
        return Err(invalid(""));
    } else {
        let (name, anonymous) = (source.to_owned(), source.is_empty());
        MountSource::Volume { name, anonymous, copy, subpath: None }
    };
    Ok(Mount { source, target: target.to_owned(), read_only })
}

/// The propagation of that name.
fn passes(word: &str) -> Option<Propagation> {
    Propagation::ALL.into_iter().find(|propagation| propagation.name() == word)
}

fn is_path(source: &str) -> bool {
    source.starts_with(['/', '.', '~'])
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    Ok(std::path::absolute(path)?)
}

/// `type=bind,source=/a,target=/b,readonly` and so on.
fn mount(word: &str) -> Result<Mount, Failure> {
    let invalid = |why: String| {
        Failure::new(format!("invalid argument {word:?} for \"--mount\" flag: {why}"))
    };
    let (mut kind, mut source, mut target) = ("volume", String::new(), String::new());
    let (mut read_only, mut copy, mut size, mut mode) = (false, true, None, 0o1777);
    let (mut propagation, mut shallow) = (None, false);
    let (mut subpath, mut volume_subpath) = (None, None);
    for field in word.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        let flag = match value {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(invalid(format!("invalid value for {key}: {other}"))),
        };
        match key.to_ascii_lowercase().as_str() {
            "type" => kind = value,
            "source" | "src" => value.clone_into(&mut source),
            "target" | "dst" | "destination" => value.clone_into(&mut target),
            "readonly" | "ro" => read_only = flag?,
            "volume-nocopy" => copy = !flag?,
            "tmpfs-size" => size = Some(parse_size(value).map_err(invalid)?),
            "tmpfs-mode" => {
                let parsed = u32::from_str_radix(value, 8);
                mode = parsed.map_err(|_| invalid(format!("invalid value for {key}: {value}")))?;
            }
            "bind-propagation" => {
                let unknown = || invalid(format!("invalid propagation value: {value}"));
                propagation = Some(passes(value).ok_or_else(unknown)?);
            }
            "bind-recursive" => match value {
                "enabled" | "readonly" | "writable" => {}
                "disabled" => shallow = true,
                other => return Err(invalid(format!("invalid value for {key}: {other}"))),
            },
            "volume-subpath" => {
                // It leads nowhere else, however it is written; what can only be a mistake is refused.
                if value.starts_with('/') || value.split('/').any(|part| part == "..") {
                    let why = "subpath must be a relative path within the volume";
                    return Err(invalid(why.to_owned()));
                }
                volume_subpath = Some(value.to_owned()).filter(|path| !path.is_empty());
            }
            "image-subpath" => subpath = Some(value.to_owned()).filter(|path| !path.is_empty()),
            "consistency" => {}
            other => return Err(invalid(format!("unexpected key '{other}' in '{field}'"))),
        }
    }
    if target.is_empty() {
        return Err(invalid("target is required".to_owned()));
    }
    for (given, needed) in [
        (propagation.is_some() || shallow, "bind"),
        (subpath.is_some(), "image"),
        (volume_subpath.is_some(), "volume"),
    ] {
        if given && kind != needed {
            return Err(invalid(format!(
                "cannot mix '{needed}-*' options with mount type '{kind}'"
            )));
        }
    }
    let source = match kind {
        "bind" | "image" if source.is_empty() => {
            return Err(invalid("source is required".to_owned()));
        }
        "bind" => MountSource::Bind {
            path: absolute(Path::new(&source))?,
            create: false,
            propagation: propagation.unwrap_or_default(),
            shallow,
        },
        "image" => MountSource::Image { name: source, id: None, subpath },
        "volume" => MountSource::Volume {
            anonymous: source.is_empty(),
            name: source,
            copy,
            subpath: volume_subpath,
        },
        "tmpfs" => MountSource::Tmpfs { size, mode, owner: (0, 0), exec: false },
        other => {
            let what = format!("invalid mount config for type {other:?}: mount type unknown");
            return Err(Failure::new(what));
        }
    };
    Ok(Mount { source, target, read_only })
}

/// `TARGET[:OPTIONS]`.
fn memory(word: &str) -> Result<Mount, Failure> {
    let (target, options) = word.split_once(':').unwrap_or((word, ""));
    let (mut size, mut mode, mut read_only, mut exec) = (None, 0o1777, false, false);
    let mut owner = (0, 0);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let invalid = || Failure::new(format!("invalid tmpfs option {option:?}"));
        match option.split_once('=').unwrap_or((option, "")) {
            ("size", value) => size = Some(parse_size(value).map_err(Failure::new)?),
            ("mode", value) => mode = u32::from_str_radix(value, 8).map_err(|_| invalid())?,
            ("uid", value) => owner.0 = value.parse().map_err(|_| invalid())?,
            ("gid", value) => owner.1 = value.parse().map_err(|_| invalid())?,
            ("ro", _) => read_only = true,
            ("exec", _) => exec = true,
            ("noexec", _) => exec = false,
            ("rw" | "nosuid" | "nodev" | "suid" | "dev" | "noatime", _) => {}
            _ => return Err(invalid()),
        }
    }
    let source = MountSource::Tmpfs { size, mode, owner, exec };
    Ok(Mount { source, target: target.to_owned(), read_only })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, target: &str, copy: bool, read_only: bool) -> Mount {
        let (name, anonymous) = (name.into(), name.is_empty());
        let source = MountSource::Volume { name, anonymous, copy, subpath: None };
        Mount { source, target: target.into(), read_only }
    }

    fn bind(create: bool, propagation: Propagation, shallow: bool, read_only: bool) -> Mount {
        let source = MountSource::Bind { path: "/h".into(), create, propagation, shallow };
        Mount { source, target: "/c".into(), read_only }
    }

    #[test]
    fn volumes_are_paths_or_names() {
        assert_eq!(volume("v1:/data:ro").ok(), Some(named("v1", "/data", true, true)));
        assert_eq!(volume("/data").ok(), Some(named("", "/data", true, false)));
        assert_eq!(volume("v1:/data:nocopy").ok(), Some(named("v1", "/data", false, false)));
        let private = Propagation::RPrivate;
        assert_eq!(volume("/h:/c").ok(), Some(bind(true, private, false, false)));
        let slave = Some(bind(true, Propagation::RSlave, false, true));
        assert_eq!(volume("/h:/c:ro,rslave").ok(), slave);
        for wrong in ["a:b", "a:/b:nosuch", ":/b", "/h:/", "a:/b:ro:x", "a:/b:rslave"] {
            assert!(volume(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mounts_are_lists_of_keys() {
        let wanted = Some(named("v1", "/data", true, false));
        assert_eq!(mount("source=v1,target=/data").ok(), wanted);
        let wanted = Some(bind(false, Propagation::RPrivate, false, true));
        assert_eq!(mount("type=bind,src=/h,dst=/c,readonly").ok(), wanted);
        let word = "type=bind,src=/h,dst=/c,bind-propagation=shared,bind-recursive=disabled";
        assert_eq!(mount(word).ok(), Some(bind(false, Propagation::Shared, true, false)));
        for wrong in [
            "type=bind,target=/c",
            "source=v1",
            "type=npipe,target=/x",
            "nosuch=1,target=/x",
            "type=image,target=/x",
            "source=v1,target=/x,bind-propagation=slave",
            "type=bind,src=/h,target=/x,bind-propagation=no",
            "type=bind,src=/h,target=/x,volume-subpath=a",
            "source=v1,target=/x,volume-subpath=../a",
        ] {
            assert!(mount(wrong).is_err(), "{wrong}");
        }
        let shm = memory("/run:size=64m,mode=755").ok().map(|mount| mount.source);
        let wanted =
            MountSource::Tmpfs { size: Some(64 << 20), mode: 0o755, owner: (0, 0), exec: false };
        assert_eq!(shm, Some(wanted));
    }
}
