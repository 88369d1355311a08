//! The ports of `EXPOSE`: `80`, `8000-8010/udp`.

use std::str::FromStr;

/// The protocols a port may have.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// A range of ports with their protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port; the same for a single one.
    pub last: u16,
    /// The protocol as written; `tcp` when there is none.
    pub protocol: String,
    /// An address or a port of the host was written in front, which `EXPOSE` has no use for.
    pub mapped: bool,
}

/// A text that is no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The protocol is not known.
    #[error("invalid port `{port}`: unknown protocol `{protocol}`, use tcp, udp or sctp")]
    Protocol {
        /// The text.
        port: String,
        /// What follows the slash.
        protocol: String,
    },
    /// The number is none, or out of range.
    #[error("invalid port `{0}`: expected a number from 0 to 65535 or a range such as 8000-8010")]
    Number(String),
    /// A range of the container behind one of the host of another length.
    #[error("invalid port `{0}`: as many ports must be named of the host as of the container")]
    Mapping(String),
}

impl FromStr for PortRange {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let (host, port) = text.rsplit_once(':').map_or((None, text), |(h, p)| (Some(h), p));
        let (numbers, protocol) = port.split_once('/').unwrap_or((port, ""));
        let protocol = if protocol.is_empty() { "tcp" } else { protocol };
        if !PROTOCOLS.iter().any(|known| protocol.eq_ignore_ascii_case(known)) {
            return Err(PortError::Protocol { port: text.into(), protocol: protocol.into() });
        }
        let invalid = || PortError::Number(text.to_owned());
        let (first, last) = range(numbers).ok_or_else(invalid)?;
        // What is in front of the last colon but one is an address.
        let published = host.map(|host| host.rsplit_once(':').map_or(host, |(_, port)| port));
        if let Some(published) = published.filter(|published| !published.is_empty()) {
            let (low, high) = range(published).ok_or_else(invalid)?;
            // One port of the container may be given a choice of several.
            if last - first != high - low && first != last {
                return Err(PortError::Mapping(text.to_owned()));
            }
        }
        Ok(Self { first, last, protocol: protocol.to_owned(), mapped: host.is_some() })
    }
}

/// `80` or `8000-8010`.
fn range(text: &str) -> Option<(u16, u16)> {
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|_| plain)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

impl PortRange {
    /// The ports as an image config names them: `80/tcp`.
    pub fn entries(&self) -> impl Iterator<Item = String> {
        let protocol = self.protocol.to_ascii_lowercase();
        (self.first..=self.last).map(move |port| format!("{port}/{protocol}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Result<Vec<String>, PortError> {
        text.parse::<PortRange>().map(|range| range.entries().collect())
    }

    #[test]
    fn ports_have_a_protocol() {
        assert_eq!(entries("80"), Ok(vec!["80/tcp".into()]));
        assert_eq!(entries("80/UDP"), Ok(vec!["80/udp".into()]));
        assert_eq!(entries("8000-8001/sctp"), Ok(vec!["8000/sctp".into(), "8001/sctp".into()]));
        assert_eq!(entries("127.0.0.1:80:8080"), Ok(vec!["8080/tcp".into()]));
        assert_eq!(entries("8000-8001:80-81"), Ok(vec!["80/tcp".into(), "81/tcp".into()]));
        assert_eq!(entries("8000-8009:80"), Ok(vec!["80/tcp".into()]));
        assert_eq!("1:2".parse::<PortRange>().map(|range| range.mapped), Ok(true));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "/tcp",
            "80/ftp",
            "70000",
            "9-8",
            "a",
            "+80",
            "80-",
            "-1",
            "8080:80-82",
            "1-2:80-82",
        ] {
            assert!(entries(text).is_err(), "{text}");
        }
    }
}
