//! The signals that `STOPSIGNAL` takes.

/// The names of Linux signals without `SIG`, see signal(7).
const NAMES: [&str; 35] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN",
];

/// Whether `text` names a signal: a number from 1 to 64, or a name with or without `SIG`, in any
/// case, including `SIGRTMIN+n` and `SIGRTMAX-n`.
pub fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number) && !text.starts_with('+');
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let within = |digits: &str, most: u8| {
        digits.parse::<u8>().is_ok_and(|n| (1..=most).contains(&n)) && !digits.starts_with('+')
    };
    NAMES.contains(&name)
        || name == "RTMAX"
        || name.strip_prefix("RTMIN+").is_some_and(|n| within(n, 15))
        || name.strip_prefix("RTMAX-").is_some_and(|n| within(n, 14))
}

/// The names, for suggestions.
pub(crate) fn names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("SIG{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for signal in ["9", "64", "SIGTERM", "term", "SIGRTMIN+3", "rtmax-14", "SIGRTMAX", "WINCH"]
        {
            assert!(is_signal(signal), "{signal}");
        }
        for other in ["", "0", "65", "SIGNOPE", "RTMIN+16", "RTMIN+", "SIGSIGTERM", "-1", "+9"] {
            assert!(!is_signal(other), "{other}");
        }
    }
}
