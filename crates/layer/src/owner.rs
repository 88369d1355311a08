//! Who files can belong to: root owns all of them where an ordinary user has no id but its own.

use std::sync::OnceLock;

/// The owner and group that a file gets which is said to be `uid`'s and `gid`'s: those, or root where
/// nobody else exists in this process's user namespace. What was another's is root's then, and leaves
/// the machine as such.
pub fn owner(uid: u32, gid: u32) -> (u32, u32) {
    if is_alone() { (0, 0) } else { (uid, gid) }
}

/// Whether root is the only user there is.
fn is_alone() -> bool {
    static ALONE: OnceLock<bool> = OnceLock::new();
    *ALONE
        .get_or_init(|| std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| is_one(&map)))
}

/// Whether nobody but the kernel's own root may make devices.
pub(crate) fn is_in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map");
    map.is_ok_and(|map| map.split_ascii_whitespace().ne(["0", "0", "4294967295"]))
}

/// Whether a map of ids (see user_namespaces(7)) has one only.
fn is_one(map: &str) -> bool {
    let mut lines = map.lines();
    let first = lines.next().and_then(|line| line.split_ascii_whitespace().nth(2));
    first == Some("1") && lines.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::is_one;

    #[test]
    fn maps_say_whether_there_is_anybody_else() {
        assert!(is_one("         0       1000          1\n"));
        assert!(!is_one("0 1000 1\n1 100000 65536\n"));
        assert!(!is_one("0 0 4294967295\n"));
    }
}
