//! Who asked for a build, for its history.

use bld_engine::history::Trigger;
use nix::unistd::{Uid, User};

use crate::rootless;

/// The command line of this process, where it runs, and for whom.
pub(super) fn trigger() -> Trigger {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let command = std::iter::once("bld".to_owned()).chain(words.skip(1));
    // Gone while somebody is in it: the build says so itself, if it matters.
    let directory = std::env::current_dir().unwrap_or_default();
    Trigger::new(command, &directory, user())
}

/// Who works here: behind sudo, who called it.
fn user() -> String {
    let uid = Uid::from_raw(rootless::user());
    let before = std::env::var("SUDO_USER").ok().filter(|name| uid.is_root() && !name.is_empty());
    before.unwrap_or_else(|| match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    })
}
