//! Names of signals, see signal(7).

/// The number of `TERM`, `SIGTERM`, `15` or `RTMIN+3`, in any case; none when there is no such
/// signal.
pub fn signal_number(name: &str) -> Option<i32> {
    let _ = name;
    None
}
