//! The ports of `EXPOSE`.

/// What one word of `EXPOSE` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exposed {
    /// `port/protocol`, one for each port of a range, the protocol in lower case.
    pub(crate) ports: Vec<String>,
    /// The protocol was not written in lower case.
    pub(crate) odd_casing: bool,
    /// An address or a port of the host was given: tolerated, and without effect.
    pub(crate) mapped: bool,
}

/// Reads `[[ip:]host:]port[-port][/protocol]`; the error says what is wrong with the word.
pub(crate) fn parse(word: &str) -> Result<Exposed, String> {
    // The address may be of IPv6, so the parts are found from the right.
    let mut parts = word.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let (host, ip) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());

    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    if range.is_empty() {
        return Err("no port specified".to_owned());
    }
    let lower = match protocol.to_ascii_lowercase() {
        lower if lower.is_empty() => "tcp".to_owned(),
        lower if matches!(lower.as_str(), "tcp" | "udp" | "sctp") => lower,
        _ => return Err(format!("unknown protocol {protocol:?}, expected tcp, udp or sctp")),
    };
    let bare_ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !ip.is_empty() && bare_ip.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("{ip:?} is no IP address"));
    }
    let (first, last) = port_range(range)?;
    if !host.is_empty() {
        let (host_first, host_last) = port_range(host)?;
        if first != last && last - first != host_last - host_first {
            return Err(format!("the ranges {host} and {range} differ in length"));
        }
    }
    Ok(Exposed {
        ports: (first..=last).map(|port| format!("{port}/{lower}")).collect(),
        odd_casing: protocol.bytes().any(|byte| byte.is_ascii_uppercase()),
        mapped: !ip.is_empty() || !host.is_empty(),
    })
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u16>().ok()).flatten().ok_or_else(|| {
            format!("{text:?} is no port, expected a number from 0 to 65535")
        })
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if last < first {
        return Err(format!("the range {text} ends before it begins"));
    }
    Ok((first, last))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn words_name_ports() {
        for (word, ports) in [
            ("80", vec!["80/tcp"]),
            ("53/UDP", vec!["53/udp"]),
            ("8000-8002/sctp", vec!["8000/sctp", "8001/sctp", "8002/sctp"]),
            ("7-7", vec!["7/tcp"]),
            ("80/", vec!["80/tcp"]),
            ("5000:5001", vec!["5001/tcp"]),
            ("127.0.0.1:80:81", vec!["81/tcp"]),
            ("127.0.0.1::81", vec!["81/tcp"]),
            ("[::1]:8080:8080", vec!["8080/tcp"]),
            ("8000-9000:80", vec!["80/tcp"]),
        ] {
            assert_eq!(parse(word).unwrap().ports, ports, "{word}");
        }
        assert!(parse("53/Udp").unwrap().odd_casing);
        assert!(!parse("53/udp").unwrap().mapped);
        assert!(parse("1:2").unwrap().mapped);
    }

    #[test]
    fn errors_name_the_wrong_part() {
        for (word, part) in [
            ("80/ftp", "ftp"),
            ("", "no port"),
            ("/tcp", "no port"),
            ("x", "\"x\""),
            ("70000", "70000"),
            ("+80", "+80"),
            ("90-80", "90-80"),
            ("80-", "\"\""),
            ("300.0.0.1:1:2", "300.0.0.1"),
            ("1-3:1-2", "differ"),
        ] {
            assert!(parse(word).unwrap_err().contains(part), "{word}: {:?}", parse(word));
        }
    }
}
