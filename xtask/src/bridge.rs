//! The default bridge, which bld keeps once a container has needed it.

use std::{path::Path, process::Command};

/// Takes the default bridge and its firewall table away when dropped, unless they were there before.
pub(crate) struct DefaultBridge {
    was_there: bool,
}

impl DefaultBridge {
    pub(crate) fn now() -> Self {
        Self { was_there: Path::new("/sys/class/net/bld0").exists() }
    }
}

impl Drop for DefaultBridge {
    fn drop(&mut self) {
        if self.was_there {
            return;
        }
        for command in
            [["ip", "link", "delete", "bld0"].as_slice(), &["nft", "delete", "table", "ip", "bld"]]
        {
            // Fails when nothing needed a bridge, which is fine.
            let _ = Command::new(command[0]).args(&command[1..]).output();
        }
    }
}
