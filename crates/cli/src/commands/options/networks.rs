//! `--network` and what belongs to it.

use std::collections::BTreeMap;

use bld_engine::containers::{Attachment, NetworkMode};

use crate::error::Failure;

/// The networks a container is to be on: the first, and what is wished for on all.
#[derive(Debug, Default)]
pub(super) struct Networks {
    pub(super) mode: NetworkMode,
    pub(super) wishes: BTreeMap<String, Attachment>,
}

/// Reads `--network` as often as it is given; `aliases` and `certain` addresses are for the first.
pub(super) fn networks(
    words: &[String],
    aliases: &[String],
    certain: &Attachment,
) -> Result<Networks, Failure> {
    let mut networks = Networks::default();
    for (index, word) in words.iter().enumerate() {
        let (name, wish) = network(word)?;
        let mode = NetworkMode::from(name.to_owned());
        if index == 0 {
            networks.mode = mode.clone();
        }
        if words.len() > 1 || wish != Attachment::default() {
            networks.wishes.insert(mode.name(), wish);
        }
    }
    if !aliases.is_empty() || *certain != Attachment::default() {
        let first = networks.wishes.entry(networks.mode.name()).or_default();
        first.aliases.extend(aliases.iter().cloned());
        first.ip = certain.ip.or(first.ip);
        first.ip6 = certain.ip6.or(first.ip6);
        first.mac = certain.mac.or(first.mac);
    }
    Ok(networks)
}

/// `NAME`, or `name=NAME,alias=ALIAS,ip=ADDRESS,ip6=ADDRESS,mac-address=ADDRESS`.
fn network(word: &str) -> Result<(&str, Attachment), Failure> {
    let mut wish = Attachment::default();
    if !word.contains('=') {
        return Ok((word, wish));
    }
    let mut name = None;
    for field in word.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "name" => name = Some(value),
            "alias" => wish.aliases.push(value.to_owned()),
            "ip" => {
                let ip = value.parse();
                let invalid = |_| Failure::new(format!("invalid IPv4 address: {value}"));
                wish.ip = Some(ip.map_err(invalid)?);
            }
            "mac-address" => {
                let mac = value.parse();
                let invalid = |_| Failure::new(format!("invalid MAC address: {value}"));
                wish.mac = Some(mac.map_err(invalid)?);
            }
            "ip6" => {
                let ip = value.trim_start_matches('[').trim_end_matches(']').parse();
                let invalid = |_| Failure::new(format!("invalid IPv6 address: {value}"));
                wish.ip6 = Some(ip.map_err(invalid)?);
            }
            _ => {
                return Err(Failure::new(format!("invalid field key {key}"))
                    .with_hint("the keys are name, alias, ip, ip6 and mac-address"));
            }
        }
    }
    let missing = || Failure::new("network name is required: give name=NETWORK");
    Ok((name.ok_or_else(missing)?, wish))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_first_network_gets_what_is_said_apart() {
        let words = ["name=front,alias=web".to_owned(), "back".to_owned()];
        let ip = Some([10, 9, 0, 7].into());
        let certain = Attachment { ip, ..Attachment::default() };
        let networks = networks(&words, &["www".to_owned()], &certain).unwrap();
        assert_eq!(networks.mode, NetworkMode::Named("front".into()));
        let front = &networks.wishes["front"];
        assert_eq!(
            (front.aliases.as_slice(), front.ip),
            (["web", "www"].map(str::to_owned).as_slice(), ip)
        );
        assert_eq!(networks.wishes["back"], Attachment::default());
    }

    #[test]
    fn one_network_alone_needs_no_wishes() {
        for (word, mode) in [
            ("default", NetworkMode::Bridge),
            ("host", NetworkMode::Host),
            ("none", NetworkMode::None),
            ("container:web", NetworkMode::Container("web".into())),
        ] {
            let networks = networks(&[word.to_owned()], &[], &Attachment::default()).unwrap();
            assert_eq!(networks.mode, mode);
            assert!(networks.wishes.is_empty());
        }
        assert!(network("alias=x").is_err() && network("name=x,colour=red").is_err());
    }
}
