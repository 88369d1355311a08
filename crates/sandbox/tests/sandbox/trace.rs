//! What is known of reads is all that was read, whichever way, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use bld_sandbox::{Reads, Root, Seen, Traced};

use crate::common::{Rootfs, run};

/// What `script` read of `rootfs`, and what it printed.
fn reads(rootfs: &Rootfs, lowers: &[PathBuf], script: &str) -> (Reads, String) {
    let traced = Traced::new(lowers).unwrap();
    let mut spec = rootfs.sh(script);
    let Root::Overlay { lowers, .. } = &mut spec.root else { unreachable!() };
    *lowers = traced.layers().to_vec();
    let printed = run(spec).ok();
    (traced.finish().unwrap(), printed)
}

fn seen(reads: &Reads, path: &str) -> Option<Seen> {
    reads.get(Path::new(path)).copied()
}

const LOOKED: Option<Seen> = Some(Seen { attributes: false, contents: false, xattrs: false });

fn contents(reads: &Reads, path: &str) -> bool {
    seen(reads, path).is_some_and(|seen| seen.contents)
}

#[test]
fn every_way_to_read_shows_and_nothing_else() {
    let rootfs = Rootfs::new();
    for name in ["read", "asked", "copied", "unread", "empty", "gone", "dir/inside", "dir/other"] {
        rootfs.write(&format!("src/{name}"), if name == "empty" { "" } else { name });
    }
    std::os::unix::fs::symlink("../src/read", rootfs.lower().join("etc/link")).unwrap();
    rootfs.write("bin/tool", "#!/bin/sh\necho tool\n");
    let script =
        "cat /etc/link /src/empty; test -e /src/none; test -s /src/asked; echo >> /src/copied
        ls /src/dir; rm /src/gone; echo new > /src/new; chmod 755 /bin/tool; /bin/tool";
    let lowers = [rootfs.lower()];
    let (reads, printed) = reads(&rootfs, &lowers, script);
    assert_eq!(printed, "readinside\nother\ntool\n");

    for path in ["src/read", "etc/link", "src/copied", "src/dir", "bin/busybox", "bin/tool"] {
        assert!(contents(&reads, path), "{path}: {reads:?}");
    }
    for path in ["src/none", "src/new"] {
        assert_eq!(seen(&reads, path), LOOKED, "{path}");
    }
    let asked = seen(&reads, "src/asked").unwrap();
    assert!(asked.attributes && !asked.contents);
    assert!(seen(&reads, "src/gone").is_some_and(|seen| !seen.contents));
    assert_eq!(seen(&reads, "src/unread"), None);
    assert!(!contents(&reads, "src/dir/inside"));
    assert!(!contents(&reads, "src"), "nobody listed it");
    assert_eq!(
        rootfs.changes(),
        ["bin/", "bin/tool", "src/", "src/copied", "src/gone", "src/new"],
        "the layer is as without a trace"
    );
    assert_eq!(fs::read_to_string(rootfs.upper().join("src/copied")).unwrap(), "copied\n");
}

#[test]
fn layers_are_one_tree() {
    let rootfs = Rootfs::new();
    rootfs.write("src/below", "below");
    rootfs.write("src/both", "below");
    let above = rootfs.dir.path().join("above");
    fs::create_dir_all(above.join("src")).unwrap();
    fs::write(above.join("src/both"), "above").unwrap();
    let lowers = [rootfs.lower(), above];
    let (reads, printed) = reads(&rootfs, &lowers, "cat /src/both /src/below; ls /src");
    assert_eq!(printed, "abovebelowbelow\nboth\n");
    for path in ["src", "src/both", "src/below"] {
        assert!(contents(&reads, path), "{path}");
    }
}

#[test]
fn large_files_and_directories_come_through_whole() {
    let rootfs = Rootfs::new();
    let large: Vec<u8> =
        (0..5_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(rootfs.lower().join("large"), &large).unwrap();
    for n in 0..500 {
        rootfs.write(&format!("many/a-rather-long-name-for-a-file-{n}"), "");
    }
    let lowers = [rootfs.lower()];
    let (_, printed) = reads(&rootfs, &lowers, "cp /large /copy; ls /many | wc -l");
    assert_eq!(printed.trim(), "500");
    assert!(fs::read(rootfs.upper().join("copy")).unwrap() == large);
}

#[test]
fn the_filesystem_goes_with_the_container() {
    let rootfs = Rootfs::new();
    let lowers = [rootfs.lower()];
    let traced = Traced::new(&lowers).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(" fuse bld "), "the host sees it: {mounts}");
    drop(traced);
}
