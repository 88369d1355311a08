//! `--publish`.

use std::net::IpAddr;

use bld_engine::containers::{PortWish, Protocol};

use crate::error::Failure;

/// `[[IP:][PORT[-LAST]]:]PORT[-LAST][/PROTOCOL]`.
pub(super) fn published(word: &str) -> Result<Vec<PortWish>, Failure> {
    let invalid = |what: String| Err(Failure::new(what));
    let (rest, protocol) = word.rsplit_once('/').unwrap_or((word, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => {
            let failure = Failure::new(format!("invalid proto: {protocol}"));
            return Err(failure.with_hint("the protocols are tcp and udp"));
        }
    };
    let (rest, container) = rest.rsplit_once(':').unwrap_or(("", rest));
    if container.is_empty() {
        return invalid(format!("no port specified: {word}<empty>"));
    }
    let (address, host) = match rest.rsplit_once(':') {
        Some((address, host)) => (address.trim_start_matches('[').trim_end_matches(']'), host),
        // An address alone, whose port is any.
        None if rest.contains('.') => (rest, ""),
        None => ("", rest),
    };
    let Some((first, last)) = range(container) else {
        return invalid(format!("invalid containerPort: {container}"));
    };
    let host_ip = match address {
        "" => None,
        address => match address.parse::<IpAddr>() {
            Ok(ip) => Some(ip),
            Err(_) => return invalid(format!("invalid IP address: {address}")),
        },
    };
    let hosts = match host {
        "" => None,
        host => match range(host) {
            Some(range) => Some(range),
            None => return invalid(format!("invalid hostPort: {host}")),
        },
    };
    let wish = |port, host_ports| PortWish { port, protocol, host_ip, host_ports };
    match hosts {
        // One port may take any of a range; a range takes as many, one by one.
        Some((0, 0)) | None => Ok((first..=last).map(|port| wish(port, None)).collect()),
        Some(hosts) if first == last => Ok(vec![wish(first, Some(hosts))]),
        Some((from, to)) if to - from == last - first => {
            let pairs = (first..=last).zip(from..=to);
            Ok(pairs.map(|(port, host)| wish(port, Some((host, host)))).collect())
        }
        Some(_) => invalid(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        )),
    }
}

/// A port, or the first and the last of several.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn one(word: &str) -> (Option<String>, Option<(u16, u16)>, u16, Protocol) {
        let wishes = published(word).unwrap();
        assert_eq!(wishes.len(), 1, "{word}");
        let wish = &wishes[0];
        (wish.host_ip.map(|ip| ip.to_string()), wish.host_ports, wish.port, wish.protocol)
    }

    #[test]
    fn ports_are_published_in_all_their_forms() {
        use Protocol::{Tcp, Udp};
        assert_eq!(one("80"), (None, None, 80, Tcp));
        assert_eq!(one("8080:80/TCP"), (None, Some((8080, 8080)), 80, Tcp));
        assert_eq!(one("127.0.0.1:53:53/udp"), (Some("127.0.0.1".into()), Some((53, 53)), 53, Udp));
        assert_eq!(one("127.0.0.1::80"), (Some("127.0.0.1".into()), None, 80, Tcp));
        assert_eq!(one("[::1]:8080:80"), (Some("::1".into()), Some((8080, 8080)), 80, Tcp));
        assert_eq!(one("8000-9000:80"), (None, Some((8000, 9000)), 80, Tcp));
        let three: Vec<_> =
            published("8000-8002:80-82").unwrap().iter().map(|w| (w.host_ports, w.port)).collect();
        let pair = |host, port| (Some((host, host)), port);
        assert_eq!(three, [pair(8000, 80), pair(8001, 81), pair(8002, 82)]);
    }

    #[test]
    fn nonsense_is_named() {
        for (word, text) in [
            ("bad:port", "invalid containerPort: port"),
            ("bad:80", "invalid hostPort: bad"),
            ("80:", "no port specified: 80:<empty>"),
            ("99999", "invalid containerPort: 99999"),
            ("1-2:80-84", "invalid ranges specified for container and host Ports: 80-84 and 1-2"),
            ("300.1.1.1:80:80", "invalid IP address: 300.1.1.1"),
            ("80/icmp", "invalid proto: icmp"),
            ("90-80", "invalid containerPort: 90-80"),
        ] {
            assert_eq!(published(word).unwrap_err().text(), Some(text), "{word}");
        }
    }
}
