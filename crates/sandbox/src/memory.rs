//! The memory of a process that waits for long.

#![expect(unsafe_code, reason = "madvise(2) and malloc_trim(3)")]

use std::fs;

/// Lets go of memory that can be had again at any time: what is mapped from files, the program itself
/// above all, and what was freed. Whoever waits for days for a container to end needs little of what it
/// took to start it. What is needed again comes back page by page, mostly without reading from disk.
pub fn let_go() {
    let Ok(table) = fs::read_to_string("/proc/self/smaps") else { return };
    for (start, length) in clean_mappings(&table) {
        // SAFETY: no page of the mapping was ever written to, so each is what the file has, before
        // and after. The process's own code among it is mapped by the kernel as it is executed.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_DONTNEED) };
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: no requirements.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Start and length of the private mappings of files that nobody can write to, and of which this
/// process has no copies of its own, as relocations make them; see proc_pid_smaps(5).
fn clean_mappings(table: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut mapping = None;
    for line in table.lines() {
        if let Some(copied) = line.strip_prefix("Anonymous:") {
            if copied.split_whitespace().next() == Some("0") {
                found.extend(mapping.take());
            }
        } else if is_first(line) {
            mapping = read_only(line);
        }
    }
    found
}

/// Whether a line is the first about a mapping: others begin with a word and a colon.
fn is_first(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| !word.ends_with(':'))
}

/// What the first line about a mapping says, unless that is no file, shared or written to.
fn read_only(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let parse = |text| usize::from_str_radix(text, 16).ok();
    let (start, end) = (parse(start)?, parse(end)?);
    let rights = words.next()?;
    let is_file = words.nth(3).is_some_and(|path| path.starts_with('/'));
    let fits = is_file && matches!(rights, "r-xp" | "r--p");
    Some((start, end.checked_sub(start)?)).filter(|_| fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_has_written_to_is_let_go() {
        let mapping = |range: &str, rights: &str, path: &str, copied: u32| {
            format!(
                "{range} {rights} 00001000 08:02 173521      {path}\nSize:  4 kB\nRss:  4 kB\n\
                 Anonymous:             {copied} kB\nVmFlags: rd ex mr mw me\n"
            )
        };
        let table = [
            mapping("1000-3000", "r-xp", "/usr/bin/bld", 0),
            mapping("3000-4000", "r--p", "/usr/bin/bld", 4),
            mapping("4000-5000", "rw-p", "/usr/bin/bld", 0),
            mapping("5000-6000", "r--p", "/usr/lib/libc.so.6 (deleted)", 0),
            mapping("6000-7000", "rw-p", "", 0),
            mapping("7000-8000", "r-xp", "[vdso]", 0),
            mapping("8000-9000", "r--s", "/var/lib/bld/db", 0),
        ];
        assert_eq!(clean_mappings(&table.concat()), [(0x1000, 0x2000), (0x5000, 0x1000)]);
    }

    #[test]
    fn the_process_goes_on_with_less() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:"));
            line.unwrap().split_whitespace().next().unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        let_go();
        assert!(resident() < before);
        assert_eq!(std::thread::spawn(|| "alive".to_owned()).join().unwrap(), "alive");
    }
}
