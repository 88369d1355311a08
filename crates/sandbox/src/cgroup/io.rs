//! What block devices give a control group: a share, and at most so much in a second.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::hierarchy::Hierarchies;
use super::{CgroupError, file};

/// What of a block device is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IoKind {
    /// Bytes read in a second.
    ReadBytes,
    /// Bytes written in a second.
    WriteBytes,
    /// Reads in a second.
    Reads,
    /// Writes in a second.
    Writes,
}

/// The most that a block device gives in a second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoRate {
    /// The device's path.
    pub device: PathBuf,
    /// What is limited.
    pub kind: IoKind,
    /// How much it may be.
    pub rate: u64,
}

/// Files that weights are written to; which of them there are is up to the kernel's schedulers. See
/// `Documentation/block/bfq-iosched.rst`.
const WEIGHTS_V1: [&str; 2] = ["blkio.weight", "blkio.bfq.weight"];
const WEIGHTS_V2: [&str; 2] = ["io.weight", "io.bfq.weight"];

/// Whether the kernel weighs what groups want of block devices. Where it does not, weights are without
/// effect.
pub fn weighs_io() -> bool {
    let Ok(hierarchies) = Hierarchies::get() else { return false };
    let (hierarchy, names) = match (hierarchies.v1.get("blkio"), &hierarchies.unified) {
        (Some(legacy), _) => (legacy, &WEIGHTS_V1),
        (None, Some(unified)) => (unified, &WEIGHTS_V2),
        (None, None) => return false,
    };
    // The root group has no weight, so one below it has to be asked.
    let root = file::below(&hierarchy.mount);
    root.iter().any(|group| present(group, names).is_some())
}

/// Writes what is limited in the `blkio` controller of v1.
pub(super) fn set_v1(dir: &Path, weight: Option<u16>, rates: &[IoRate]) -> Result<(), CgroupError> {
    if let (Some(weight), Some(name)) = (weight, present(dir, &WEIGHTS_V1)) {
        file::write(dir, name, &weight.to_string())?;
    }
    for rate in rates {
        let name = match rate.kind {
            IoKind::ReadBytes => "blkio.throttle.read_bps_device",
            IoKind::WriteBytes => "blkio.throttle.write_bps_device",
            IoKind::Reads => "blkio.throttle.read_iops_device",
            IoKind::Writes => "blkio.throttle.write_iops_device",
        };
        file::write(dir, name, &format!("{} {}", number(&rate.device)?, rate.rate))?;
    }
    Ok(())
}

/// Writes what is limited in the `io` controller of v2.
pub(super) fn set_v2(dir: &Path, weight: Option<u16>, rates: &[IoRate]) -> Result<(), CgroupError> {
    match (weight, present(dir, &WEIGHTS_V2)) {
        (Some(weight), Some("io.weight")) => {
            file::write(dir, "io.weight", &format!("default {}", widened(weight)))?;
        }
        (Some(weight), Some(name)) => file::write(dir, name, &weight.to_string())?,
        _ => {}
    }
    for rate in rates {
        let key = match rate.kind {
            IoKind::ReadBytes => "rbps",
            IoKind::WriteBytes => "wbps",
            IoKind::Reads => "riops",
            IoKind::Writes => "wiops",
        };
        file::write(dir, "io.max", &format!("{} {key}={}", number(&rate.device)?, rate.rate))?;
    }
    Ok(())
}

/// The first of `names` that the kernel has. One without any is no reason to fail: a weight is a wish.
fn present(dir: &Path, names: &[&'static str]) -> Option<&'static str> {
    names.iter().find(|name| dir.join(name).exists()).copied()
}

/// v1 weights of 10 to 1000 as v2 weights of 1 to 10000, linear, as OCI runtimes do it.
fn widened(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9999 / 990
}

/// `MAJOR:MINOR` of a block device.
fn number(device: &Path) -> Result<String, CgroupError> {
    let found = fs::metadata(device).map_err(file::error("limit a device for", device))?;
    if !found.file_type().is_block_device() {
        return Err(CgroupError::NoBlockDevice(device.to_owned()));
    }
    let number = found.rdev();
    Ok(format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_widened() {
        assert_eq!((widened(10), widened(100), widened(1000)), (1, 910, 10_000));
    }

    #[test]
    fn a_weight_lands_where_the_kernel_has_a_place_for_it() {
        let dir = tempfile::tempdir().unwrap();
        set_v1(dir.path(), Some(300), &[]).unwrap();
        set_v2(dir.path(), Some(300), &[]).unwrap();
        for name in ["blkio.bfq.weight", "io.bfq.weight"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        set_v1(dir.path(), Some(300), &[]).unwrap();
        set_v2(dir.path(), Some(300), &[]).unwrap();
        for name in ["blkio.bfq.weight", "io.bfq.weight"] {
            assert_eq!(file::read(dir.path(), name).unwrap(), "300");
        }
        fs::write(dir.path().join("io.weight"), "").unwrap();
        set_v2(dir.path(), Some(1000), &[]).unwrap();
        assert_eq!(file::read(dir.path(), "io.weight").unwrap(), "default 10000");
    }

    #[test]
    fn only_block_devices_are_limited() {
        let dir = tempfile::tempdir().unwrap();
        let rate = IoRate { device: "/dev/null".into(), kind: IoKind::Reads, rate: 1 };
        let refused = set_v2(dir.path(), None, &[rate]);
        assert!(matches!(refused, Err(CgroupError::NoBlockDevice(_))));
    }
}
