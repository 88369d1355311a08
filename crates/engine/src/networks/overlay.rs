//! Networks that several hosts have in common: what their options mean.

use std::net::Ipv4Addr;

use bld_network::{Overlay, USUAL_PORT};
use bld_oci::Digest;

use super::Network;
use crate::{EngineError, Result};

/// The hosts, with commas between them.
const PEERS: &str = "peers";

/// The number of the network; one that goes with its name when absent.
const VNI: &str = "vni";

/// The UDP port.
const PORT: &str = "port";

/// What joins the bridge of a network to those of other hosts.
///
/// # Errors
/// [`EngineError::Invalid`] for options that make no sense, and where something is missing.
pub(super) fn of(network: &Network) -> Result<Overlay> {
    let invalid = |what: String| EngineError::Invalid { what };
    if network.subnet.is_none() || network.ip_range.is_none() {
        let what = "an overlay network needs --subnet, the same on every host, and --ip-range, the \
                    part of it that this host gives out";
        return Err(invalid(what.to_owned()));
    }
    let option = |name: &str| network.options.get(name).map(String::as_str);
    let peers = option(PEERS).unwrap_or_default();
    let peers = peers.split(',').map(str::trim).filter(|peer| !peer.is_empty());
    let peers = peers.map(|peer| {
        let address = peer.parse::<Ipv4Addr>();
        address.map_err(|_| invalid(format!("invalid IPv4 address of a host in peers: {peer}")))
    });
    let peers = peers.collect::<Result<Vec<_>>>()?;
    if peers.is_empty() {
        let what = "an overlay network needs the addresses of the hosts: --opt peers=ADDRESS,...";
        return Err(invalid(what.to_owned()));
    }
    let vni = match option(VNI) {
        None => number_for(&network.name),
        Some(text) => {
            let number = text.parse().ok().filter(|vni| (1..1 << 24).contains(vni));
            number.ok_or_else(|| invalid(format!("invalid vni, from 1 to 16777215: {text}")))?
        }
    };
    let port = match option(PORT) {
        None => USUAL_PORT,
        Some(text) => text.parse().map_err(|_| invalid(format!("invalid port: {text}")))?,
    };
    let id = network.id.get(..10).unwrap_or(&network.id);
    Ok(Overlay { link: format!("bldx{id}"), vni, port, peers })
}

/// The number of a network whose hosts have said nothing but its name; not one of the first, which people
/// choose.
fn number_for(name: &str) -> u32 {
    let digest = Digest::of(format!("overlay {name}").as_bytes()).hex();
    let number = digest.get(..5).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    0x10_0000 | number.unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use super::*;
    use crate::networks::Driver;

    fn network(options: &[(&str, &str)]) -> Network {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Network {
            id: "0123456789abcdef".into(),
            name: "wide".into(),
            created: SystemTime::UNIX_EPOCH,
            driver: Driver::Overlay,
            subnet: "10.9.0.0/16".parse().ok(),
            gateway: None,
            ip_range: "10.9.1.0/24".parse().ok(),
            auxiliary: BTreeMap::new(),
            v6: None,
            internal: false,
            attachable: false,
            labels: BTreeMap::new(),
            options: options.collect(),
        }
    }

    #[test]
    fn options_say_which_hosts_and_which_network() {
        let known = [("peers", "192.0.2.1, 192.0.2.2"), ("vni", "77"), ("port", "8472")];
        let overlay = of(&network(&known)).unwrap();
        assert_eq!((overlay.vni, overlay.port, overlay.peers.len()), (77, 8472, 2));
        assert_eq!(overlay.link, "bldx0123456789");
        let by_name = of(&network(&known[..1])).unwrap();
        assert_eq!((by_name.vni, by_name.port), (number_for("wide"), USUAL_PORT));
        for wrong in [[("peers", "")], [("peers", "here")], [("vni", "7")]] {
            assert!(of(&network(&wrong)).is_err());
        }
        assert!(of(&network(&[known[0], ("vni", "16777216")])).is_err());
        let anywhere = Network { ip_range: None, ..network(&known) };
        assert!(of(&anywhere).is_err());
    }
}
