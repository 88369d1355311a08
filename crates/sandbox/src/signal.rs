//! Names of signals, see signal(7).

/// Names with the numbers they have on every architecture this crate runs on.
const NAMES: [(&str, i32); 35] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("UNUSED", 31),
];

/// The first and last real-time signal a program can use: the C library keeps 32 and 33.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The number of `TERM`, `SIGTERM`, `15` or `RTMIN+3`, in any case; none when there is no such
/// signal.
pub fn signal_number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == bare) {
        return Some(*number);
    }
    let number = match (bare.strip_prefix("RTMIN"), bare.strip_prefix("RTMAX")) {
        (Some(""), _) => RTMIN,
        (_, Some("")) => RTMAX,
        (Some(plus), _) => RTMIN + plus.strip_prefix('+')?.parse::<u8>().map(i32::from).ok()?,
        (_, Some(minus)) => RTMAX - minus.strip_prefix('-')?.parse::<u8>().map(i32::from).ok()?,
        _ => return None,
    };
    (RTMIN..=RTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn names_and_numbers() {
        for name in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(signal_number(name), Some(15), "{name}");
        }
        assert_eq!(signal_number("SIGRTMIN+3"), Some(37));
        assert_eq!(signal_number("RTMAX-1"), Some(63));
        assert_eq!(signal_number("rtmin"), Some(34));
        for name in ["", "SIG", "0", "65", "-9", "NOPE", "RTMIN+31", "RTMIN3", "RTMAX--1"] {
            assert_eq!(signal_number(name), None, "{name}");
        }
    }
}
