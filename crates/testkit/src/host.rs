//! What a container engine can leave behind on the machine it runs on.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Mounts, links, control groups and processes that have to do with bld.
#[derive(Debug, Clone, Default)]
pub struct HostState(BTreeSet<String>);

impl HostState {
    /// Takes stock of the machine.
    pub fn now() -> Self {
        let mut found = BTreeSet::new();
        found.extend(mounts("self", "").map(|line| format!("mount {line}")));
        let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        found.extend(
            links
                .map(|link| link.file_name().to_string_lossy().into_owned())
                .filter(|name| name.starts_with("bldv"))
                .map(|name| format!("link {name}")),
        );
        let mut groups = Vec::new();
        control_groups(Path::new("/sys/fs/cgroup"), 6, &mut groups);
        found.extend(groups.into_iter().map(|path| format!("control group {}", path.display())));
        found.extend(
            processes()
                .filter(|pid| {
                    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
                    name.is_ok_and(|name| name.trim() == "bld" || name.starts_with("bld-"))
                })
                .map(|pid| format!("process {pid}")),
        );
        Self(found)
    }

    /// What is there now and was not there then; what is on its way out gets a few seconds.
    pub fn appeared(&self) -> Vec<String> {
        let mut left = BTreeSet::new();
        for round in 0..50 {
            let now = Self::now().0;
            let new: BTreeSet<_> = now.difference(&self.0).cloned().collect();
            // Only what is seen every time is left behind; the rest comes and goes.
            left = if round == 0 { new } else { left.intersection(&new).cloned().collect() };
            if left.is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        left.into_iter().collect()
    }

    /// The mounts below the store `root`, the processes that see its files as theirs, and the `bld`
    /// processes that use it.
    pub(crate) fn belonging_to(root: &Path) -> Vec<String> {
        let root = root.to_string_lossy().into_owned();
        let mut found: Vec<_> = mounts("self", &root).map(|line| format!("mount {line}")).collect();
        let variable = format!("BLD_ROOT={root}");
        for pid in processes() {
            let uses = fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment.split(|byte| *byte == 0).any(|entry| entry == variable.as_bytes())
            });
            if uses || mounts(&pid, &root).next().is_some() {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let command = String::from_utf8_lossy(&command).replace('\0', " ");
                found.push(format!("process {pid} {command}"));
            }
        }
        found
    }
}

/// The mounts a process sees that mention `needle`, or that look like bld's when it is empty.
fn mounts(pid: &str, needle: &str) -> impl Iterator<Item = String> {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let needle = needle.to_owned();
    let lines: Vec<_> = table
        .lines()
        .filter(
            |line| {
                if needle.is_empty() { line.contains("/bld") } else { line.contains(&needle) }
            },
        )
        .map(|line| line.split(' ').skip(4).collect::<Vec<_>>().join(" "))
        .collect();
    lines.into_iter()
}

fn processes() -> impl Iterator<Item = String> {
    let own = std::process::id().to_string();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(move |name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own)
}

/// The control groups of steps and containers: those inside of a group called `bld`, which itself may
/// stay.
fn control_groups(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if depth == 0 {
        return;
    }
    let ours = directory.file_name().is_some_and(|name| name == "bld");
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if ours {
                found.push(entry.path());
            }
            control_groups(&entry.path(), depth - 1, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_names_the_store_is_seen() {
        let directory = tempfile::tempdir().expect("a directory");
        let child =
            std::process::Command::new("sleep").arg("30").env("BLD_ROOT", directory.path()).spawn();
        let mut child = child.expect("start sleep");
        let pid = format!("process {} ", child.id());
        let mut seen = false;
        for _ in 0..100 {
            let found = HostState::belonging_to(directory.path());
            seen = found.iter().any(|line| line.starts_with(&pid));
            if seen {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        assert!(seen);
    }
}
