//! A file system in a file, which shows what has reached the disk. It is mounted in a mount namespace of
//! its own, so that nothing of it is left whatever happens.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bld_store::Store;

const PLACE: &str = "BLD_STORE_TEST_WRITE_OUT";

/// Bytes that are written.
const MUCH: usize = 80 << 20;

/// The kernel by itself lets pages lie for longer (`dirty_expire_centisecs`).
const SOON: Duration = Duration::from_secs(15);

#[test]
fn what_is_written_is_on_disk_soon() {
    let Some(place) = env::var_os(PLACE).map(PathBuf::from) else { return inside() };
    let disk = place.join("disk");
    let size = || fs::metadata(&disk).unwrap().blocks() * 512;
    let store = Store::open(&place.join("mnt/store")).unwrap();
    store.write_out_early();
    let active = store.prepare(None).unwrap();
    fs::write(active.upper().join("file"), vec![1; MUCH]).unwrap();
    let begun = Instant::now();
    while size() < MUCH as u64 {
        assert!(begun.elapsed() < SOON, "only {} bytes have reached the disk", size());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the test again where there is such a file system.
fn inside() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("mnt")).unwrap();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-ec"])
        .arg("cd \"$1\"; truncate -s 256M disk; mkfs.ext4 -q -F disk; mount -o loop disk mnt; exec \"$2\" \"$3\"")
        .arg("sh")
        .arg(place.path())
        .arg(env::current_exe().unwrap())
        .arg("what_is_written_is_on_disk_soon")
        .env(PLACE, place.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
