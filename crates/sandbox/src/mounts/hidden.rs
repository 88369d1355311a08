//! What Docker hides of the kernel, and what it keeps from being written.

use std::ffi::{CStr, CString};
use std::path::Path;
use std::sync::OnceLock;

/// The host's memory, keys, hardware and power, from the root directory.
const MASKED: [&CStr; 12] = [
    c"proc/acpi",
    c"proc/asound",
    c"proc/interrupts",
    c"proc/kcore",
    c"proc/keys",
    c"proc/latency_stats",
    c"proc/sched_debug",
    c"proc/scsi",
    c"proc/timer_list",
    c"proc/timer_stats",
    c"sys/devices/virtual/powercap",
    c"sys/firmware",
];

/// Switches of the whole machine, from the root directory.
pub(super) const READ_ONLY: [&CStr; 5] =
    [c"proc/bus", c"proc/fs", c"proc/irq", c"proc/sys", c"proc/sysrq-trigger"];

/// What is to be covered, as far as this kernel has it: looking for the rest in every container
/// would take time. How hot each processor is counts as well.
pub(super) fn masked() -> &'static [CString] {
    static FOUND: OnceLock<Vec<CString>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut found: Vec<CString> = MASKED.iter().map(|path| (*path).to_owned()).collect();
        for processor in 0.. {
            let path = format!("sys/devices/system/cpu/cpu{processor}");
            if !Path::new("/").join(&path).exists() {
                break;
            }
            found.extend(CString::new(format!("{path}/thermal_throttle")));
        }
        found.retain(|path| {
            path.to_str().is_ok_and(|path| Path::new("/").join(path).symlink_metadata().is_ok())
        });
        found
    })
}
