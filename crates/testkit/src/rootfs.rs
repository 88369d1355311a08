//! Root file systems to start from, as tar archives.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use tar::{Builder, EntryType, Header};

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      daemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
                      bin:x:2:2:bin:/bin:/bin/false\n\
                      nobody:x:65534:65534:nobody:/home:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\nbin:x:2:\nwheel:x:10:root\nnogroup:x:65534:\n";

const DIRECTORIES: [(&str, u32); 10] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("root", 0o700),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
];

/// The machine's statically linked busybox.
pub fn busybox_binary() -> Result<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .context("find busybox (package busybox-static)")
}

/// A small system: busybox under the names of all its applets, and a few users and groups.
pub fn busybox() -> Result<Vec<u8>> {
    let binary = busybox_binary()?;
    let list = Command::new(&binary).arg("--list").output()?;
    ensure!(list.status.success(), "busybox --list failed");
    let mut tar = Builder::new(Vec::new());
    for (name, mode) in DIRECTORIES {
        add(&mut tar, name, EntryType::Directory, mode, &[])?;
    }
    add(&mut tar, "bin/busybox", EntryType::Regular, 0o755, &fs::read(&binary)?)?;
    let applets = String::from_utf8(list.stdout)?;
    let names = applets.lines().filter(|name| !name.contains('/') && *name != "busybox");
    for name in names.map(|name| format!("bin/{name}")).chain(["usr/bin/env".to_owned()]) {
        let mut header = header(EntryType::Link, 0o755, 0);
        tar.append_link(&mut header, name, "bin/busybox")?;
    }
    add(&mut tar, "etc/passwd", EntryType::Regular, 0o644, PASSWD.as_bytes())?;
    add(&mut tar, "etc/group", EntryType::Regular, 0o644, GROUP.as_bytes())?;
    Ok(tar.into_inner()?)
}

fn header(kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_mtime(1_577_836_800); // 2020-01-01
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn add(
    tar: &mut Builder<Vec<u8>>,
    name: &str,
    kind: EntryType,
    mode: u32,
    data: &[u8],
) -> Result<()> {
    Ok(tar.append_data(&mut header(kind, mode, data.len()), name, data)?)
}

/// A minimal Debian or Ubuntu of this machine's own release, made once by mmdebstrap and kept at
/// `path`.
pub fn debian(path: &Path) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let release = fs::read_to_string("/etc/os-release")?;
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .context("find the release's name in /etc/os-release")?
        .trim_matches('"');
    let parent = path.parent().context("the archive needs a directory")?;
    fs::create_dir_all(parent)?;
    let fresh = path.with_extension(format!("{}.tar", std::process::id()));
    let output = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--include=ca-certificates", "--mode=root"])
        // Neither an old mirror nor a wrong clock is what is tested with it.
        .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
        .arg("--aptopt=Acquire::Check-Date \"false\"")
        .arg(suite)
        .arg(&fresh)
        .output()
        .context("start mmdebstrap (package mmdebstrap)")?;
    if !output.status.success() {
        let _ = fs::remove_file(&fresh);
        bail!("mmdebstrap failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(fs::rename(fresh, path)?)
}
