//! Signals as messages.
//!
//! The signals of interest are blocked before any thread is started, and read by a thread: no handler
//! ever interrupts anything. Of several that want a signal, as when a verb does the work of another one,
//! the last to come is told.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::signalfd::SignalFd;

/// Signals that ask a program to end.
pub(crate) const ENDING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

type Call = Arc<Mutex<dyn FnMut(Signal) + Send>>;

/// Who wants which signals, the last to come last.
static HANDLERS: Mutex<Vec<(Vec<Signal>, Call)>> = Mutex::new(Vec::new());

/// Somebody who is told of signals until this is dropped.
pub(crate) struct Handler(Call);

impl Drop for Handler {
    fn drop(&mut self) {
        let mut handlers = HANDLERS.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.retain(|(_, call)| !Arc::ptr_eq(call, &self.0));
    }
}

/// Calls `handle` with every one of `signals` that arrives from now on, on a thread of its own, until the
/// result is dropped. Then those who came before are told again; if there is nobody, a signal does what
/// it does to any program.
///
/// To be called before other threads are started: those that exist already still take signals the
/// old way.
pub(crate) fn handle_for_now(
    signals: &[Signal],
    handle: impl FnMut(Signal) + Send + 'static,
) -> io::Result<Handler> {
    let mut set = SigSet::empty();
    for &signal in signals {
        set.add(signal);
    }
    set.thread_block()?;
    let fd = SignalFd::new(&set)?;
    let call: Call = Arc::new(Mutex::new(handle));
    let entry = (signals.to_vec(), Arc::clone(&call));
    HANDLERS.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    let handler = Handler(call);
    // Whichever thread reads a signal, its own handler may be gone.
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while let Ok(Some(info)) = fd.read_signal() {
            if let Ok(signal) = Signal::try_from(info.ssi_signo.cast_signed()) {
                tell(signal);
            }
        }
    })?;
    Ok(handler)
}

/// The same for as long as the program runs.
pub(crate) fn handle(
    signals: &[Signal],
    handle: impl FnMut(Signal) + Send + 'static,
) -> io::Result<()> {
    handle_for_now(signals, handle).map(std::mem::forget)
}

fn tell(signal: Signal) {
    let handlers = HANDLERS.lock().unwrap_or_else(PoisonError::into_inner);
    let last = handlers.iter().rfind(|(signals, _)| signals.contains(&signal));
    let last = last.map(|(_, call)| Arc::clone(call));
    drop(handlers);
    match last {
        Some(call) => call.lock().unwrap_or_else(PoisonError::into_inner)(signal),
        None => let_through(signal),
    }
}

/// Has a signal that was blocked do what it does to any program.
pub(crate) fn let_through(signal: Signal) {
    let mut set = SigSet::empty();
    set.add(signal);
    // Neither fails for a signal that there is.
    let _ends = set.thread_unblock().and_then(|()| raise(signal));
}
