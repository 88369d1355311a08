//! `/sys/fs/cgroup`, as Docker gives it: the container's own groups as if they were the root.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::mount::MountAttrFlags;

use super::dev::make_dir;
use super::fs::{FsError, HARMLESS, tmpfs};
use super::{Attachment, Place, Source};
use crate::cgroup::Hierarchies;
use crate::sys;

const TARGET: &str = "/sys/fs/cgroup";

/// Controllers of v1 by which programs measure how much machine they have. Docker shows the others
/// too, but nothing reads them, and every mount costs time at the start and at the end.
const SHOWN: [&str; 5] = ["cpu", "cpuacct", "cpuset", "memory", "pids"];

/// Attaches the hierarchies the host has. v2 alone lies right at `/sys/fs/cgroup`; the controllers
/// of v1 each in a directory of a tmpfs there.
pub(super) fn attach(
    attributes: MountAttrFlags,
    attachments: &mut Vec<Attachment>,
) -> Result<(), FsError> {
    let hierarchies = Hierarchies::get()?;
    let place = Place::Later(CString::new(TARGET)?);
    if hierarchies.v1.is_empty() {
        if hierarchies.unified.is_some() {
            attachments.push(Attachment {
                source: Source::New { kind: c"cgroup2", options: source("cgroup")?, attributes },
                place,
                what: "cgroup",
                target: TARGET.to_owned(),
            });
        }
        return Ok(());
    }

    let dir = Arc::new(tmpfs(&[(c"mode", "0755")], HARMLESS)?);
    attachments.push(Attachment {
        source: Source::Ready(Arc::clone(&dir)),
        place,
        what: "tmpfs",
        target: TARGET.to_owned(),
    });
    let mut done = Vec::new();
    for hierarchy in SHOWN.iter().filter_map(|name| hierarchies.v1.get(*name)) {
        if done.contains(&&hierarchy.mount) {
            continue;
        }
        done.push(&hierarchy.mount);
        // Controllers that share a hierarchy are mounted together, or not at all.
        let together = hierarchies.v1.iter().filter(|(_, other)| other.mount == hierarchy.mount);
        let names: Vec<&str> = together.map(|(name, _)| name.as_str()).collect();
        let mut options = source("cgroup")?;
        for name in &names {
            options.push((CString::new(*name)?, None));
        }
        let name = names.join(",");
        attachments.push(Attachment {
            source: Source::New { kind: c"cgroup", options, attributes },
            place: make_dir(&dir, &CString::new(&*name)?)?,
            what: "cgroup",
            target: format!("{TARGET}/{name}"),
        });
    }
    seal(&dir, attributes)
}

/// The tmpfs itself is as writable as the groups are.
fn seal(dir: &OwnedFd, attributes: MountAttrFlags) -> Result<(), FsError> {
    Ok(sys::seal_mount(dir, attributes, false)?)
}

fn source(name: &str) -> Result<Vec<(CString, Option<CString>)>, FsError> {
    Ok(vec![(CString::new("source")?, Some(CString::new(name)?))])
}
