//! The names of signals.

/// Linux signals but for the real-time ones, see signal(7), without the `SIG`.
const NAMES: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "UNUSED", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// Whether `text` is a signal: its number, or its name in any case with or without `SIG`.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i32>() {
        return number > 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |name: &str, base: &str, sign: char, limit: u8| {
        let Some(rest) = name.strip_prefix(base) else { return false };
        rest.is_empty()
            || rest
                .strip_prefix(sign)
                .and_then(|offset| offset.parse::<u8>().ok())
                .is_some_and(|offset| (1..=limit).contains(&offset))
    };
    // Linux has signals 34 to 64 for programs, which are named from both ends.
    NAMES.contains(&name) || offset(name, "RTMIN", '+', 15) || offset(name, "RTMAX", '-', 14)
}

/// The names a mistyped signal may have meant, as `STOPSIGNAL` is usually written.
pub(crate) fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["SIGTERM", "term", "Quit", "9", "37", "SIGRTMIN", "SIGRTMIN+3", "RTMAX-14"] {
            assert!(is_signal(text), "{text}");
        }
        for text in ["", "0", "-9", "SIGNOPE", "SIGRTMIN+16", "SIGRTMIN-1", "SIGRTMAX+1", "SIG"] {
            assert!(!is_signal(text), "{text}");
        }
    }
}
