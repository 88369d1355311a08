//! Slash-separated paths as text: nothing here looks at a filesystem.

/// Resolves `path` against the absolute directory `dir` and cleans the result: no empty or `.`
/// component, no `..`, which stops at the root.
pub(crate) fn join(dir: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let dir = if path.starts_with('/') { "" } else { dir };
    for part in dir.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = String::with_capacity(dir.len() + path.len() + 1);
    for part in parts {
        clean.push('/');
        clean.push_str(part);
    }
    if clean.is_empty() {
        clean.push('/');
    }
    clean
}

/// Resolves `path` as the destination of a copy: like [`join`], but a final slash stays, because
/// it says that the destination is a directory. So do an empty path, `.` and `..`.
pub(crate) fn join_dest(dir: &str, path: &str) -> String {
    let is_dir = matches!(path.rsplit('/').next(), None | Some("" | "." | ".."));
    let mut dest = join(dir, path);
    if is_dir && !dest.ends_with('/') {
        dest.push('/');
    }
    dest
}

/// The last component of `path`, as Go's `path.Base` takes it; `/` and `.` have none.
pub(crate) fn base(path: &str) -> Option<&str> {
    path.rsplit('/').find(|part| !part.is_empty()).filter(|part| *part != ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_paths_are_clean_and_stay_inside() {
        for (dir, path, joined) in [
            ("/a", "b", "/a/b"),
            ("/a", "../c/./d/", "/c/d"),
            ("/a", "/b//c/", "/b/c"),
            ("/a", "../../../x", "/x"),
            ("/a", "", "/a"),
            ("", "", "/"),
            ("/", "..", "/"),
        ] {
            assert_eq!(join(dir, path), joined, "{dir} + {path}");
        }
    }

    #[test]
    fn a_destination_keeps_its_final_slash() {
        for (dir, path, joined) in [
            ("/w", "x", "/w/x"),
            ("/w", "x/", "/w/x/"),
            ("/w", "x/.", "/w/x/"),
            ("/w", ".", "/w/"),
            ("/w", "", "/w/"),
            ("/w", "..", "/"),
            ("/", "./", "/"),
            ("/", "/", "/"),
        ] {
            assert_eq!(join_dest(dir, path), joined, "{dir} + {path}");
        }
    }

    #[test]
    fn the_base_is_the_last_component() {
        assert_eq!(base("/a/b/"), Some("b"));
        assert_eq!(base("tok"), Some("tok"));
        assert_eq!(base("/"), None);
        assert_eq!(base(""), None);
    }
}
