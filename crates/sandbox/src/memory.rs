//! The memory of a process that waits for long.

#![expect(unsafe_code, reason = "madvise(2), malloc_trim(3) and poll(2)")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;

use rustix::event::PollFd;

/// The size of pages as far as `/proc/self/pagemap` goes on the machines we know; a mapping that does not
/// begin at one is left alone.
const PAGE: usize = 4096;

/// Waits without limit as poll(2) does, and lets go before of memory that can be had again at any time: what
/// is mapped from files, the program itself above all, and what was freed. Whoever waits for days for a
/// container to end needs little of what it took to start it. What is needed again comes back page by page,
/// mostly without reading from disk.
///
/// # Errors
/// Those of poll(2).
pub fn wait_small(fds: &mut [PollFd<'_>]) -> io::Result<usize> {
    let ranges = unwritten();
    #[cfg(target_env = "gnu")]
    // SAFETY: no requirements.
    unsafe {
        libc::malloc_trim(0);
    }
    let mut at = ranges.as_ptr();
    let (count, pollfds) = (fds.len() as libc::nfds_t, fds.as_mut_ptr().cast());
    let mut left = ranges.len();
    // Whatever is executed from here on is memory that stays, by 64 KB for each place that is come by, so
    // that there is nothing between the last of it and the wait, and no call of a helper.
    while left > 0 {
        // SAFETY: `at` is one of the ranges that are left. No page of it was ever written to, so each is what
        // the file has, before and after, and the mapping is not one that can be written to. The process's
        // own code among it is mapped by the kernel as it is executed.
        unsafe {
            libc::madvise((*at).0 as *mut libc::c_void, (*at).1, libc::MADV_DONTNEED);
            at = at.wrapping_add(1);
        }
        left -= 1;
    }
    // SAFETY: a `PollFd` is a `pollfd`, and there are as many as is said.
    let ready = unsafe { libc::poll(pollfds, count, -1) };
    usize::try_from(ready).map_err(|_| io::Error::last_os_error())
}

/// Start and length of all there is in memory of files that nobody can write to, but for what this process
/// has copies of its own of, as relocations make them. See proc_pid_pagemap(5).
fn unwritten() -> Vec<(usize, usize)> {
    let (Ok(maps), Ok(pages)) =
        (fs::read_to_string("/proc/self/maps"), File::open("/proc/self/pagemap"))
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (start, length) in maps.lines().filter_map(read_only) {
        // What is executed again would come back in pieces of 2 MB, where the file system has such.
        // SAFETY: it changes nothing but how pages are mapped from now on.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_NOHUGEPAGE) };
        let mut entries = vec![0; length / PAGE * 8];
        if pages.read_exact_at(&mut entries, (start / PAGE * 8) as u64).is_ok() {
            found.extend(runs(start, &entries));
        }
    }
    found
}

/// Start and length of what is in memory and the file's, by the entries for the pages from `start` on.
fn runs(start: usize, entries: &[u8]) -> Vec<(usize, usize)> {
    const PRESENT: u64 = 1 << 63;
    const OF_A_FILE: u64 = 1 << 61;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, entry) in entries.as_chunks::<8>().0.iter().enumerate() {
        let entry = u64::from_ne_bytes(*entry);
        if entry & PRESENT == 0 || entry & OF_A_FILE == 0 {
            continue;
        }
        let address = start + index * PAGE;
        match runs.last_mut().filter(|(first, length)| first + *length == address) {
            Some((_, length)) => *length += PAGE,
            None => runs.push((address, PAGE)),
        }
    }
    runs
}

/// Start and length of a mapping, by its line, unless it is of no file, shared or may be written to.
fn read_only(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (parse(start)?, parse(end)?);
    let rights = words.next()?;
    let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let fits = is_file && matches!(rights, "r-xp" | "r--p") && start % PAGE == 0;
    Some((start, end.checked_sub(start)?)).filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, PollFlags, eventfd};

    #[test]
    fn only_what_nobody_has_written_to_is_let_go() {
        let mapping = |range: &str, rights: &str, path: &str| {
            read_only(&format!("{range} {rights} 00001000 08:02 173521      {path}"))
        };
        assert_eq!(mapping("1000-3000", "r-xp", "/usr/bin/bld"), Some((0x1000, 0x2000)));
        assert_eq!(mapping("5000-6000", "r--p", "/x (deleted)"), Some((0x5000, 0x1000)));
        assert_eq!(mapping("4000-5000", "rw-p", "/usr/bin/bld"), None);
        assert_eq!(mapping("6000-7000", "r--p", ""), None);
        assert_eq!(mapping("7000-8000", "r-xp", "[vdso]"), None);
        assert_eq!(mapping("8000-9000", "r--s", "/var/lib/bld/db"), None);
        let (file, own, none) = (5_u64 << 61, 1_u64 << 63, 0);
        let entries: Vec<u8> =
            [file, file, own, none, file].into_iter().flat_map(u64::to_ne_bytes).collect();
        assert_eq!(runs(0x1000, &entries), [(0x1000, 0x2000), (0x5000, 0x1000)]);
    }

    #[test]
    fn the_process_goes_on_with_less() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:"));
            line.unwrap().split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        let bell = eventfd(1, EventfdFlags::CLOEXEC).unwrap();
        let mut fds = [PollFd::new(&bell, PollFlags::IN)];
        assert_eq!(wait_small(&mut fds).unwrap(), 1);
        assert!(fds[0].revents().contains(PollFlags::IN));
        assert!(resident() < before);
        assert_eq!(std::thread::spawn(|| "alive".to_owned()).join().unwrap(), "alive");
    }
}
