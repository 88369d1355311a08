//! Signals as messages.
//!
//! The signals of interest are blocked before any thread is started, and read by one thread: no
//! handler ever interrupts anything.

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

/// Signals that ask a program to end.
pub(crate) const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Calls `handle` with every one of `signals` that arrives from now on, on a thread of its own.
///
/// To be called before other threads are started: those that exist already still take signals the
/// old way.
pub(crate) fn handle(
    signals: &[Signal],
    mut handle: impl FnMut(Signal) + Send + 'static,
) -> io::Result<()> {
    let mut set = SigSet::empty();
    for &signal in signals {
        set.add(signal);
    }
    set.thread_block()?;
    let fd = SignalFd::new(&set)?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while let Ok(Some(info)) = fd.read_signal() {
            if let Ok(signal) = Signal::try_from(info.ssi_signo.cast_signed()) {
                handle(signal);
            }
        }
    })?;
    Ok(())
}
