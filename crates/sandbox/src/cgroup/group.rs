//! The control group of one container, in as many hierarchies as it needs.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

use super::devices::{self, DeviceRule};
use super::hierarchy::{Hierarchies, parent_group};
use super::{CgroupError, CgroupSpec, Limits, Stats, file, sweep, v1, v2};

/// The control group of one container.
///
/// Dropping it does nothing: groups outlive values. See [`Cgroup::remove`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Directory in the unified hierarchy.
    unified: Option<PathBuf>,
    /// Controller and directory in each v1 hierarchy.
    v1: Vec<(String, PathBuf)>,
}

impl Cgroup {
    /// Makes a group. Unless `spec` names a parent, it lies below a group called `bld`: in v1
    /// inside the caller's own group, in v2 beside it, so that limits on the caller hold.
    ///
    /// # Errors
    /// A limit that no mounted hierarchy can set, or the kernel's refusal. Nothing is left then.
    pub fn create(spec: &CgroupSpec) -> Result<Self, CgroupError> {
        let hierarchies = Hierarchies::usable()
            .map_err(file::error("find", Path::new("/proc/self/mountinfo")))?;
        Self::create_in(hierarchies, spec)
    }

    fn create_in(hierarchies: &Hierarchies, spec: &CgroupSpec) -> Result<Self, CgroupError> {
        if spec.name.is_empty() || spec.name.starts_with('.') || spec.name.contains('/') {
            return Err(CgroupError::Name(spec.name.clone()));
        }
        let name = sweep::tagged(&spec.name)?;
        let mut group = Self { unified: None, v1: Vec::new() };
        match group.make(hierarchies, spec, &name) {
            Ok(()) => Ok(group),
            Err(e) => {
                // The reason is worth more than a second failure.
                let _ = group.remove();
                Err(e)
            }
        }
    }

    fn make(
        &mut self,
        hierarchies: &Hierarchies,
        spec: &CgroupSpec,
        name: &str,
    ) -> Result<(), CgroupError> {
        let hybrid = hierarchies.is_hybrid;
        if let Some(hierarchy) = &hierarchies.unified {
            let within = spec.within.as_ref().and_then(|group| group.unified.as_deref());
            let parent = match within.and_then(|dir| dir.strip_prefix(&hierarchy.mount).ok()) {
                Some(path) => path.to_string_lossy().into_owned(),
                None => spec.parent.clone().unwrap_or_else(|| parent_group(&hierarchy.own, true)),
            };
            self.unified = Some(hierarchy.dir(&parent).join(name));
            v2::create(hierarchy, &parent, name, &spec.limits, spec.accounting, hybrid)?;
        }
        if hybrid {
            let within = spec.within.as_ref().map_or(&[][..], |group| &group.v1);
            v1::create(hierarchies, spec, within, name, &mut self.v1)?;
        }
        Ok(())
    }

    /// The group a process of ours is in; none when it is in no group of ours.
    ///
    /// # Errors
    /// There is no such process.
    pub fn of(pid: i32) -> Result<Option<Self>, CgroupError> {
        let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let groups = Hierarchies::usable()
            .and_then(|all| all.groups_of(pid))
            .map_err(file::error("read", &path))?;
        let mut found = Self { unified: None, v1: Vec::new() };
        for (controller, dir) in groups {
            if !dir.file_name().and_then(|n| n.to_str()).is_some_and(sweep::is_tagged) {
                continue;
            }
            if controller.is_empty() {
                found.unified = Some(dir);
            } else if !found.v1.iter().any(|(_, other)| *other == dir) {
                found.v1.push((controller, dir));
            }
        }
        Ok((found.unified.is_some() || !found.v1.is_empty()).then_some(found))
    }

    /// One directory of whichever hierarchy, for killing and removing.
    pub(super) fn at(dir: PathBuf) -> Self {
        Self { unified: Some(dir), v1: Vec::new() }
    }

    /// Whether it is in no hierarchy: an ordinary user may have none to make groups in.
    pub fn is_nowhere(&self) -> bool {
        self.dirs().next().is_none()
    }

    fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        self.unified.iter().chain(self.v1.iter().map(|(_, dir)| dir))
    }

    /// A descriptor for `CLONE_INTO_CGROUP`, when there is a unified hierarchy.
    pub(crate) fn unified_fd(&self) -> Result<Option<OwnedFd>, CgroupError> {
        let Some(dir) = &self.unified else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(dir, flags, Mode::empty())
            .map(Some)
            .map_err(|e| file::error("open", dir)(e.into()))
    }

    /// Descriptors of the v1 `cgroup.procs` files: a process that writes `0` to each joins.
    pub(crate) fn v1_doors(&self) -> Result<Vec<File>, CgroupError> {
        let doors = self.v1.iter().map(|(_, dir)| {
            let path = dir.join("cgroup.procs");
            OpenOptions::new().write(true).open(&path).map_err(file::error("open", &path))
        });
        doors.collect()
    }

    /// Lets the group use no devices but these. `false` when no hierarchy can see to it.
    pub(crate) fn restrict_devices(&self, extra: &[DeviceRule]) -> Result<bool, CgroupError> {
        if let Some(dir) = &self.unified
            && let Some(group) = self.unified_fd()?
        {
            let attached = if extra.is_empty() {
                default_program().and_then(|program| devices::attach_program(program, &group))
            } else {
                let rules = [&devices::DOCKER, extra].concat();
                devices::load_program(&rules)
                    .and_then(|program| devices::attach_program(&program, &group))
            };
            return match attached {
                Ok(()) => Ok(true),
                // A kernel without BPF, or no right to use it.
                Err(e)
                    if matches!(
                        e.raw_os_error(),
                        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM)
                    ) =>
                {
                    Ok(false)
                }
                Err(e) => Err(file::error("restrict devices of", dir)(e)),
            };
        }
        let Some((_, dir)) = self.v1.iter().find(|(controller, _)| controller == "devices") else {
            return Ok(false);
        };
        file::write(dir, "devices.deny", "a")?;
        for rule in devices::DOCKER.iter().chain(extra) {
            file::write(dir, "devices.allow", &rule.to_string())?;
        }
        Ok(true)
    }

    /// Moves a process into the group.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add(&self, pid: i32) -> Result<(), CgroupError> {
        for dir in self.dirs() {
            file::write(dir, "cgroup.procs", &pid.to_string())?;
        }
        Ok(())
    }

    /// Process numbers of everything in the group.
    pub fn processes(&self) -> Vec<i32> {
        fn collect(dir: &Path, found: &mut Vec<i32>) {
            found.extend(file::processes(dir));
            for below in file::below(dir) {
                collect(&below, found);
            }
        }
        let mut found = Vec::new();
        if let Some(dir) = self.dirs().next() {
            collect(dir, &mut found);
        }
        found
    }

    /// Changes the limits that are given.
    ///
    /// # Errors
    /// A limit whose controller the group was not made with, or the kernel's refusal.
    pub fn set_limits(&self, limits: &Limits) -> Result<(), CgroupError> {
        if self.v1.is_empty()
            && let Some(dir) = &self.unified
        {
            return v2::set_limits(dir, limits);
        }
        let wanted = [
            ("memory", limits.wants_memory()),
            ("pids", limits.pids.is_some()),
            ("cpu", limits.wants_cpu()),
            ("cpuset", limits.wants_cpuset()),
            ("blkio", limits.wants_io()),
        ];
        for (what, wanted) in wanted {
            if wanted && !self.v1.iter().any(|(controller, _)| controller == what) {
                return Err(CgroupError::Unsupported { what: what.to_owned() });
            }
        }
        self.v1.iter().try_for_each(|(controller, dir)| v1::set_limits(controller, dir, limits))
    }

    /// Sees to it that `limits` can be set on the running group of the process `pid`: takes it to the
    /// controllers that it was made without.
    ///
    /// # Errors
    /// A limit that no mounted hierarchy can set, or the kernel's refusal.
    pub fn extend(&mut self, pid: i32, limits: &Limits) -> Result<(), CgroupError> {
        let hierarchies = Hierarchies::usable()
            .map_err(file::error("find", Path::new("/proc/self/mountinfo")))?;
        if !hierarchies.is_hybrid {
            return match (&hierarchies.unified, &self.unified) {
                (Some(hierarchy), Some(dir)) => v2::extend(hierarchy, dir, limits),
                _ => Ok(()),
            };
        }
        let Some(name) = self.dirs().find_map(|dir| dir.file_name().map(ToOwned::to_owned)) else {
            return Ok(());
        };
        let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
        let groups = hierarchies.groups_of(pid).map_err(file::error("read", &path))?;
        for controller in v1::needed(limits) {
            if self.v1.iter().any(|(known, _)| known == controller) {
                continue;
            }
            let above = groups.iter().find(|(known, _)| known == controller);
            let (_, above) =
                above.ok_or_else(|| CgroupError::Unsupported { what: controller.to_owned() })?;
            if above.file_name() != Some(&name) {
                let dir = v1::make(controller, above, &name)?;
                self.bring(&dir)?;
                self.v1.push((controller.to_owned(), dir));
            }
        }
        Ok(())
    }

    /// Moves all that is in the group to `dir` of another hierarchy.
    fn bring(&self, dir: &Path) -> Result<(), CgroupError> {
        loop {
            let there = file::processes(dir);
            let left: Vec<i32> =
                self.processes().into_iter().filter(|pid| !there.contains(pid)).collect();
            if left.is_empty() {
                return Ok(());
            }
            for pid in left {
                match file::write(dir, "cgroup.procs", &pid.to_string()) {
                    // It has ended in between.
                    Err(CgroupError::Io { source, .. })
                        if source.raw_os_error() == Some(libc::ESRCH) => {}
                    written => written?,
                }
            }
        }
    }

    /// Kills everything in the group, including what is born meanwhile.
    ///
    /// # Errors
    /// Something that does not die within seconds.
    pub fn kill(&self) -> Result<(), CgroupError> {
        if let Some(dir) = &self.unified
            && file::write(dir, "cgroup.kill", "1").is_ok()
        {
            return Ok(());
        }
        // Before Linux 5.14, and in v1. What is frozen cannot fork, but dies only when thawed.
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            let processes = self.processes();
            if processes.is_empty() {
                return Ok(());
            }
            for pid in processes.into_iter().filter_map(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
            let _ = self.thaw();
            if Instant::now() > end {
                let dir = self.dirs().next().cloned().unwrap_or_default();
                return Err(file::error("kill all of", &dir)(io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops everything in the group until [`thaw`](Self::thaw), and returns when it has stopped.
    ///
    /// # Errors
    /// No hierarchy can do it, or something does not stop within seconds.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.set_frozen(true)
    }

    /// Lets everything run again.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.set_frozen(false)
    }

    /// Whether it was told to stop and not yet to run again.
    pub fn is_frozen(&self) -> bool {
        let value = |dir: &PathBuf, name| file::read(dir, name).unwrap_or_default();
        self.unified.as_ref().is_some_and(|dir| value(dir, "cgroup.freeze") == "1")
            || self.v1.iter().any(|(controller, dir)| {
                controller == "freezer" && value(dir, "freezer.state") != "THAWED"
            })
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), CgroupError> {
        let legacy = self.v1.iter().find(|(controller, _)| controller == "freezer");
        let (dir, name, value) = match (&self.unified, legacy) {
            (Some(dir), _) => (dir, "cgroup.freeze", if frozen { "1" } else { "0" }),
            (None, Some((_, dir))) => {
                (dir, "freezer.state", if frozen { "FROZEN" } else { "THAWED" })
            }
            (None, None) => return Err(CgroupError::Unsupported { what: "freezer".to_owned() }),
        };
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            // v1 gives up when it meets a fork, and has to be told again.
            file::write(dir, name, value)?;
            let done = match name {
                "cgroup.freeze" => {
                    file::keyed(dir, "cgroup.events", "frozen") == Some(u64::from(frozen))
                }
                _ => file::read(dir, name).as_deref() == Some(value),
            };
            if done {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(file::error("freeze", dir)(io::ErrorKind::TimedOut.into()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What the group has used so far.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for (controller, dir) in &self.v1 {
            v1::stats(controller, dir, &mut stats);
        }
        if let Some(dir) = &self.unified {
            v2::stats(dir, &mut stats);
        }
        if stats.pids == 0 {
            stats.pids = self.processes().len() as u64;
        }
        stats
    }

    /// How often something in the group was killed for lack of memory.
    pub fn oom_kills(&self) -> u64 {
        let mut stats = Stats::default();
        match self.v1.iter().find(|(controller, _)| controller == "memory") {
            Some((controller, dir)) => v1::stats(controller, dir, &mut stats),
            None => {
                let dir = self.unified.as_deref();
                stats.oom_kills =
                    dir.and_then(|d| file::keyed(d, "memory.events", "oom_kill")).unwrap_or(0);
            }
        }
        stats.oom_kills
    }

    /// Removes the group, which must have no processes.
    ///
    /// # Errors
    /// Something still runs in it.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let end = Instant::now() + file::REMOVE_WITHIN;
        // All of them, even when one resists.
        let others = self.extensions();
        self.dirs().chain(&others).map(|dir| file::remove(dir, end)).fold(Ok(()), Result::and)
    }

    /// Where somebody else may have taken the group to, by [`extend`](Self::extend).
    fn extensions(&self) -> Vec<PathBuf> {
        let (Ok(hierarchies), Some(name)) =
            (Hierarchies::usable(), self.dirs().find_map(|dir| dir.file_name()))
        else {
            return Vec::new();
        };
        v1::EXTENDED
            .iter()
            .filter(|controller| !self.v1.iter().any(|(known, _)| known == *controller))
            .filter_map(|controller| hierarchies.v1.get(*controller))
            .map(|hierarchy| hierarchy.dir(&parent_group(&hierarchy.own, false)).join(name))
            .filter(|dir| dir.exists())
            .collect()
    }
}

/// The program for Docker's default rules, loaded once: verifying it takes longer than attaching.
fn default_program() -> io::Result<&'static OwnedFd> {
    static PROGRAM: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program);
    }
    let program = devices::load_program(&devices::DOCKER)?;
    Ok(PROGRAM.get_or_init(|| program))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    fn state(pid: u32) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    }

    fn set_up(hierarchies: &Hierarchies, name: &str) -> Cgroup {
        let spec = CgroupSpec {
            name: format!("unit-{name}-{}", std::process::id()),
            limits: Limits { pids: Some(9), ..Limits::default() },
            accounting: true,
            ..CgroupSpec::default()
        };
        Cgroup::create_in(hierarchies, &spec).unwrap()
    }

    fn use_everything(group: &Cgroup) {
        let mut child = sleeper();
        let pid = child.id() as i32;
        group.add(pid).unwrap();
        assert_eq!(group.processes(), [pid]);
        assert_eq!(Cgroup::of(pid).unwrap().as_ref().map(Cgroup::processes), Some(vec![pid]));
        assert!(group.restrict_devices(&[]).unwrap());
        assert!(group.remove().is_err(), "something runs in it");
        assert_eq!(group.stats().pids, 1);

        group.freeze().unwrap();
        let frozen = state(child.id());
        assert!(group.is_frozen());
        group.thaw().unwrap();
        assert!(!group.is_frozen());
        assert!(matches!(frozen, 'D' | 'S'), "{frozen}");
        group.freeze().unwrap();
        // Reaped on the side, as a dead process keeps a v1 group busy.
        let reaper = std::thread::spawn(move || child.wait().unwrap());
        group.kill().unwrap();
        assert!(!reaper.join().unwrap().success());
        assert_eq!(group.oom_kills(), 0);
        group.remove().unwrap();
        group.remove().unwrap();
        assert!(group.dirs().all(|dir| !dir.exists()));
    }

    #[test]
    fn the_systems_set_up() {
        use_everything(&set_up(Hierarchies::usable().unwrap(), "own"));
    }

    #[test]
    fn without_v2() {
        let hierarchies = Hierarchies { unified: None, ..Hierarchies::usable().unwrap().clone() };
        if hierarchies.v1.contains_key("freezer") {
            let group = set_up(&hierarchies, "v1");
            for controller in ["pids", "freezer", "devices", "cpuacct", "memory"] {
                assert!(group.v1.iter().any(|(name, _)| name == controller), "{controller}");
            }
            use_everything(&group);
        }
    }

    /// As if v2 were alone; where it has no controllers, those cannot be asked for.
    #[test]
    fn without_v1() {
        let unified = Hierarchies::usable().unwrap().unified.clone();
        let hierarchies = Hierarchies { unified, ..Hierarchies::default() };
        let Some(unified) = &hierarchies.unified else { return };
        let spec =
            CgroupSpec { name: format!("unit-v2-{}", std::process::id()), ..CgroupSpec::default() };
        use_everything(&Cgroup::create_in(&hierarchies, &spec).unwrap());
        let offered = file::read(&unified.mount, "cgroup.controllers").unwrap_or_default();
        if !offered.contains("pids") {
            let limits = Limits { pids: Some(1), ..Limits::default() };
            let spec = CgroupSpec { limits, ..spec };
            let error = Cgroup::create_in(&hierarchies, &spec).unwrap_err();
            assert!(error.to_string().contains("+pids"), "{error}");
        }
    }
}
