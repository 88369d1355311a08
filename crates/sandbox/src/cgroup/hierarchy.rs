//! Which control group hierarchies are mounted where, and where in them this process is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::ids::Ids;

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Where it is mounted.
    pub(crate) mount: PathBuf,
    /// Path within it of the group that is visible at `mount`; `/` unless a part was bind mounted.
    pub(crate) root: String,
    /// The group of this process, from `mount`; starts with a slash.
    pub(crate) own: String,
}

impl Hierarchy {
    /// The directory of a group given from the hierarchy's visible root.
    pub(crate) fn dir(&self, group: &str) -> PathBuf {
        self.mount.join(group.trim_start_matches('/'))
    }

    /// Whether this process may make the group that holds our groups, or groups in it.
    fn is_ours(&self, unified: bool) -> bool {
        let dir = self.dir(&parent_group(&self.own, unified));
        let above = dir.parent().unwrap_or(&self.mount);
        let nearest = if dir.exists() { &dir } else { above };
        // A process moves between groups by the right to write to what holds both.
        let door = above.join("cgroup.procs");
        [nearest, &door]
            .into_iter()
            .all(|path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok())
    }

    /// The group, from the visible root, of a path as `/proc/PID/cgroup` has it.
    fn visible(root: &str, path: &str) -> String {
        let rest = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
        if rest.is_empty() { "/".to_owned() } else { rest.to_owned() }
    }
}

/// All hierarchies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// cgroup v2: on its own, or beside v1 ("hybrid") without controllers.
    pub(crate) unified: Option<Hierarchy>,
    /// cgroup v1, by controller. Several controllers can share one.
    pub(crate) v1: BTreeMap<String, Hierarchy>,
    /// Whether controllers belong to v1, be it to hierarchies that are not ours to use.
    pub(crate) is_hybrid: bool,
}

impl Hierarchies {
    /// Those in which this process may make groups. Root may everywhere.
    pub(crate) fn usable() -> io::Result<&'static Self> {
        static CACHE: OnceLock<Hierarchies> = OnceLock::new();
        let all = Self::get()?;
        if Ids::own().are_all() {
            return Ok(all);
        }
        Ok(CACHE.get_or_init(|| {
            let mut found = all.clone();
            found.unified.take_if(|hierarchy| !hierarchy.is_ours(true));
            found.v1.retain(|_, hierarchy| hierarchy.is_ours(false));
            found
        }))
    }

    /// Whether groups can have a controller.
    pub(crate) fn has(&self, controller: &str) -> bool {
        let offered = |hierarchy: &Hierarchy| {
            let dir = hierarchy.dir(&parent_group(&hierarchy.own, true));
            let above = dir.parent().unwrap_or(&hierarchy.mount);
            fs::read_to_string(above.join("cgroup.controllers"))
                .is_ok_and(|text| text.split_whitespace().any(|name| name == controller))
        };
        self.v1.contains_key(controller)
            || (!self.is_hybrid && self.unified.as_ref().is_some_and(offered))
    }

    /// Those of this process, read once: they do not change while a system runs.
    pub(crate) fn get() -> io::Result<&'static Self> {
        static CACHE: OnceLock<Hierarchies> = OnceLock::new();
        if let Some(found) = CACHE.get() {
            return Ok(found);
        }
        let mountinfo = fs::read_to_string("/proc/self/mountinfo")?;
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        Ok(CACHE.get_or_init(|| Self::parse(&mountinfo, &groups)))
    }

    /// Parses the two files, see proc_pid_mountinfo(5) and cgroups(7).
    pub(crate) fn parse(mountinfo: &str, groups: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(root), Some(mount), Some(kind)) = (left.get(3), left.get(4), right.first())
            else {
                continue;
            };
            let hierarchy = |own: &str| Hierarchy {
                mount: PathBuf::from(unescape(mount)),
                root: unescape(root),
                own: Hierarchy::visible(&unescape(root), own),
            };
            match *kind {
                "cgroup2" if found.unified.is_none() => {
                    found.unified = group_of(groups, "").map(hierarchy);
                }
                "cgroup" => {
                    for controller in right.get(2).unwrap_or(&"").split(',') {
                        found.is_hybrid = true;
                        if let Some(own) = group_of(groups, controller)
                            && !found.v1.contains_key(controller)
                        {
                            found.v1.insert(controller.to_owned(), hierarchy(own));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The groups of another process, as (controller, directory), the unified one under "".
    pub(crate) fn groups_of(&self, pid: i32) -> io::Result<Vec<(String, PathBuf)>> {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let mut found = Vec::new();
        let all = self.v1.iter().map(|(controller, h)| (controller.as_str(), h));
        for (controller, hierarchy) in all.chain(self.unified.iter().map(|h| ("", h))) {
            if let Some(group) = group_of(&groups, controller) {
                let dir = hierarchy.dir(&Hierarchy::visible(&hierarchy.root, group));
                found.push((controller.to_owned(), dir));
            }
        }
        Ok(found)
    }
}

/// The path in the line of `controller` ("" for the unified hierarchy) of a `/proc/PID/cgroup`.
fn group_of<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        controllers.split(',').any(|c| c == controller).then_some(path)
    })
}

/// Undoes the octal escapes of mountinfo.
fn unescape(field: &str) -> String {
    field.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// The group that holds our groups, from the visible root of its hierarchy.
///
/// In v1 it is made inside the caller's own group, so that what limits the caller limits its
/// containers. In v2 a group with processes cannot hand controllers on to groups below it, so it is
/// made beside the caller's own group, where the same outer limits hold.
pub(crate) fn parent_group(own: &str, unified: bool) -> String {
    let base = if unified {
        Path::new(own).parent().map_or("", |p| p.to_str().unwrap_or(""))
    } else {
        own
    };
    format!("{}/bld", base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
24 1 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
27 24 0:25 / /sys/fs/cgroup/my\\040systemd rw,relatime shared:3 - cgroup cgroup rw,name=systemd
28 24 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hybrid() {
        let groups = "9:name=systemd:/\n4:memory:/outer/inner\n1:cpu,cpuacct:/\n0::/\n";
        let all = Hierarchies::parse(HYBRID, groups);
        assert!(all.is_hybrid);
        assert_eq!(all.v1["memory"].mount, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(all.v1["memory"].own, "/outer/inner");
        assert_eq!(all.v1["cpu"], all.v1["cpuacct"]);
        assert_eq!(all.v1["name=systemd"].mount, Path::new("/sys/fs/cgroup/my systemd"));
        let unified = all.unified.unwrap();
        assert_eq!(unified.mount, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(unified.own, "/");
        assert_eq!(unified.dir("/bld/x"), Path::new("/sys/fs/cgroup/unified/bld/x"));
    }

    #[test]
    fn a_part_of_a_hierarchy() {
        let mountinfo = "30 1 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let all = Hierarchies::parse(mountinfo, "0::/docker/abc/deep\n");
        assert_eq!(all.unified.unwrap().own, "/deep");
        let all = Hierarchies::parse(mountinfo, "0::/docker/abc\n");
        assert_eq!(all.unified.unwrap().own, "/");
    }

    #[test]
    fn where_groups_go() {
        assert_eq!(parent_group("/", true), "/bld");
        assert_eq!(parent_group("/user.slice/session-3.scope", true), "/user.slice/bld");
        assert_eq!(parent_group("/", false), "/bld");
        assert_eq!(parent_group("/outer/inner", false), "/outer/inner/bld");
    }
}
