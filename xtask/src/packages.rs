//! The programs that building, running and testing need, installed by package name.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::shell::{run, step, target, which};

/// A Debian package, and a file or program by which its presence is seen elsewhere.
struct Package {
    name: &'static str,
    program: &'static str,
}

const fn package(name: &'static str, program: &'static str) -> Package {
    Package { name, program }
}

/// To compile and to run bld.
const BASE: &[Package] = &[
    package("busybox-static", "busybox"),
    package("ca-certificates", "update-ca-certificates"),
    package("gcc", "gcc"),
    package("git", "git"),
    package("iproute2", "ip"),
    package("libc6-dev", "gcc"),
    package("nftables", "nft"),
];

/// To test it against other tools.
const TEST: &[Package] = &[
    package("bsdutils", "script"),
    package("buildah", "buildah"),
    package("bzip2", "bzip2"),
    package("chromium", "chromium"),
    package("crun", "crun"),
    package("docker-compose", "docker-compose"),
    package("docker-registry", "docker-registry"),
    package("docker.io", "dockerd"),
    package("lighttpd", "lighttpd"),
    package("mmdebstrap", "mmdebstrap"),
    package("openssh-client", "ssh"),
    package("openssh-server", "sshd"),
    package("openssl", "openssl"),
    package("passwd", "useradd"),
    package("podman", "podman"),
    package("procps", "ps"),
    package("python3", "python3"),
    package("python3-venv", "python3"),
    package("runc", "runc"),
    package("skopeo", "skopeo"),
    package("slirp4netns", "slirp4netns"),
    package("uidmap", "newuidmap"),
    package("umoci", "umoci"),
    package("util-linux", "nsenter"),
    package("wget", "wget"),
    package("xz-utils", "xz"),
    package("zstd", "zstd"),
];

/// To make the page. Many machines have them from elsewhere, which Debian's would be in the way of.
const NODE: &[Package] = &[package("nodejs", "node"), package("npm", "npm")];

/// From PyPI, with exact versions: a server of S3 that checks signatures, with Amazon's own client.
const PYTHON: &[&str] = &["moto[server,s3]==5.2.5"];

/// Makes sure that what the demo needs is installed.
pub(crate) fn for_demo() -> Result<()> {
    ensure(BASE.iter())
}

/// Makes sure that what the tests and benchmarks need is installed.
pub(crate) fn for_tests() -> Result<()> {
    ensure(BASE.iter().chain(TEST))?;
    for_page()?;
    ensure_python()
}

/// Makes sure that there is a Node to make the page with.
pub(crate) fn for_page() -> Result<()> {
    ensure(NODE.iter().filter(|package| which(package.program).is_none()))
}

/// Installs packages of PyPI in a place of their own, where the tests look for them.
fn ensure_python() -> Result<()> {
    let place = target().join("python");
    let mark = place.join("installed");
    let wanted = PYTHON.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    step(&format!("Installing {} from PyPI", PYTHON.join(", ")));
    run(Command::new("python3").args(["-m", "venv"]).arg(&place))?;
    let pip = place.join("bin/pip");
    run(Command::new(pip).args(["install", "--quiet"]).args(PYTHON))?;
    Ok(fs::write(mark, wanted)?)
}

fn ensure(packages: impl Iterator<Item = &'static Package>) -> Result<()> {
    let by_dpkg = which("apt-get").is_some() && which("dpkg-query").is_some();
    let missing: Vec<_> =
        packages
            .filter(|package| {
                if by_dpkg { !installed(package.name) } else { which(package.program).is_none() }
            })
            .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if !by_dpkg {
        let programs: Vec<_> = missing.iter().map(|package| package.program).collect();
        bail!(
            "these programs are missing: {}. This machine has no apt-get, so install them by hand \
             (Debian calls the packages {})",
            programs.join(", "),
            names.join(", ")
        );
    }
    step(&format!("Installing {}", names.join(", ")));
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        command
    };
    run(apt().arg("update"))?;
    let quiet = NoServices::begin()?;
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(&names))?;
    drop(quiet);
    let absent: Vec<_> = names.into_iter().filter(|name| !installed(name)).collect();
    if !absent.is_empty() {
        bail!("still not installed: {}", absent.join(", "));
    }
    Ok(())
}

/// While this lives, packages that bring a server do not start it: tests start their own. A machine
/// that has a policy for services keeps it.
struct NoServices(Option<&'static Path>);

impl NoServices {
    /// Where Debian asks before it starts a service; see invoke-rc.d(8).
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn begin() -> Result<Self> {
        let policy = Path::new(Self::POLICY);
        if policy.exists() {
            return Ok(Self(None));
        }
        fs::write(policy, "#!/bin/sh\nexit 101\n")?;
        let guard = Self(Some(policy));
        fs::set_permissions(policy, fs::Permissions::from_mode(0o755))?;
        Ok(guard)
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = self.0 {
            // A policy that stays would keep the machine's own services from starting.
            if let Err(error) = fs::remove_file(policy) {
                step(&format!("Remove {} by hand: {error}", policy.display()));
            }
        }
    }
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout == b"installed")
}
