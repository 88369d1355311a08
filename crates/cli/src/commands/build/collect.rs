//! Keeping the cache within its limits, after a build that added to it.

use bld_engine::EngineError;
use bld_event::{EventKind, Events, Progress};

use crate::config::Gc;
use crate::output::units;
use crate::session::Session;

/// Gives up what `gc` says, and tells the readers of `events` if that was anything.
pub(super) fn collect(session: &Session, gc: &Gc, events: &Events) -> Result<(), EngineError> {
    if !gc.is_enabled() {
        return Ok(());
    }
    let pruned = session.engine.collect_cache(|disk| gc.rules(disk))?;
    if let Some(pruned) = pruned.filter(|pruned| !pruned.entries.is_empty()) {
        let freed = units::size(pruned.bytes, 4);
        let task = events.task(format!("freed {freed} of build cache over its limits"));
        let entries = match pruned.entries.len() {
            1 => "1 entry".to_owned(),
            many => format!("{many} entries"),
        };
        let progress = Progress {
            item: format!("removing {entries}"),
            current: pruned.bytes,
            total: Some(pruned.bytes),
            done: true,
        };
        events.emit(task.id(), EventKind::Progress(progress));
        task.done();
    }
    Ok(())
}
