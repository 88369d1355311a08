//! The two files by which programs find names: `/etc/resolv.conf` and `/etc/hosts`.

use std::{fmt::Write as _, net::Ipv4Addr};

use crate::home;

/// Used when the host names no server a container could reach, as Docker does.
const PUBLIC_NAMESERVERS: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// The `/etc/resolv.conf` for a container that has a network of its own.
///
/// `host` is the host's file, and everything of it is kept except name servers that can't be reached
/// from inside: those on loopback, and those with an IPv6 address. When no server is left, the same
/// is tried with `upstream`, which should be `/run/systemd/resolve/resolv.conf` where it exists: the
/// servers behind the host's local resolver. When that has none either, public ones are named, or what
/// answers for them where an ordinary user's containers are.
///
/// A container on the host's own network takes the host's file as it is; see resolv.conf(5).
pub fn resolv_conf(host: &[u8], upstream: Option<&[u8]>) -> Vec<u8> {
    [Some(host), upstream].into_iter().flatten().find_map(reachable).unwrap_or_else(|| {
        let mut text = strip(host).0;
        let at_home = home::name_server().map(|server| server.to_string());
        let servers = at_home.as_deref().map_or(PUBLIC_NAMESERVERS.to_vec(), |own| vec![own]);
        for server in servers {
            text.extend(format!("nameserver {server}\n").into_bytes());
        }
        text
    })
}

fn reachable(file: &[u8]) -> Option<Vec<u8>> {
    let (text, servers) = strip(file);
    (servers > 0).then_some(text)
}

/// The file without comments and unreachable servers, and how many servers are left.
fn strip(file: &[u8]) -> (Vec<u8>, usize) {
    let mut text = Vec::with_capacity(file.len());
    let mut servers = 0;
    for line in file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if line.is_empty() || line.starts_with(b"#") || line.starts_with(b";") {
            continue;
        }
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        if words.next() == Some(b"nameserver") {
            if !words.next().is_some_and(is_reachable) {
                continue;
            }
            servers += 1;
        }
        text.extend(line);
        text.push(b'\n');
    }
    (text, servers)
}

fn is_reachable(server: &[u8]) -> bool {
    let address = str::from_utf8(server).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
    address.is_some_and(|ip| !ip.is_loopback())
}

/// The `/etc/hosts` Docker writes: the names of loopback, then `extra` (host name and address, in
/// the order given), then the container's own name with its address when it has one.
pub fn hosts_file(hostname: &str, ip: Option<Ipv4Addr>, extra: &[(String, String)]) -> Vec<u8> {
    let mut text = "127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::\tip6-localnet\n\
                    ff00::\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n"
        .to_owned();
    for (name, address) in extra {
        let _ = writeln!(text, "{address}\t{name}");
    }
    if let Some(ip) = ip {
        let _ = writeln!(text, "{ip}\t{hostname}");
    }
    text.into_bytes()
}

/// `extra` for [`hosts_file`], with the address by which a container reaches the host in place of
/// Docker's word for it, `host-gateway`.
pub fn with_gateway(extra: &[(String, String)], gateway: Ipv4Addr) -> Vec<(String, String)> {
    let address = |(name, address): &(String, String)| match address.as_str() {
        "host-gateway" => (name.clone(), gateway.to_string()),
        address => (name.clone(), address.to_owned()),
    };
    extra.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(host: &str, upstream: Option<&str>) -> String {
        String::from_utf8_lossy(&resolv_conf(host.as_bytes(), upstream.map(str::as_bytes)))
            .into_owned()
    }

    #[test]
    fn reachable_servers_and_options_are_kept() {
        let host = "# by hand\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n\
                    search example.org\noptions edns0 ";
        assert_eq!(
            resolved(host, Some("nameserver 192.0.2.9")),
            "nameserver 192.0.2.1\nsearch example.org\noptions edns0\n"
        );
    }

    #[test]
    fn a_local_resolver_is_replaced_by_the_servers_behind_it() {
        let stub = "nameserver 127.0.0.53\nsearch lan\n";
        assert_eq!(
            resolved(stub, Some("nameserver 192.0.2.7\nsearch corp\n")),
            "nameserver 192.0.2.7\nsearch corp\n"
        );
        let public = "search lan\nnameserver 8.8.8.8\nnameserver 8.8.4.4\n";
        assert_eq!(resolved(stub, None), public);
        assert_eq!(resolved(stub, Some("nameserver ::1\n")), public);
    }

    #[test]
    fn nonsense_is_not_a_server() {
        assert_eq!(resolved("", None), "nameserver 8.8.8.8\nnameserver 8.8.4.4\n");
        assert_eq!(
            resolved("nameserver\nnameserver x\nnameserver 1.1.1.1", None),
            "nameserver 1.1.1.1\n"
        );
    }

    #[test]
    fn hosts_name_loopback_extras_and_self_in_this_order() {
        let hosts = hosts_file(
            "box",
            Some(Ipv4Addr::new(10, 88, 0, 2)),
            &[("db".to_owned(), "192.0.2.3".to_owned())],
        );
        let hosts = String::from_utf8_lossy(&hosts);
        assert!(hosts.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost"));
        assert!(hosts.ends_with("ff02::2\tip6-allrouters\n192.0.2.3\tdb\n10.88.0.2\tbox\n"));
        assert!(!hosts.contains("box\n10"));
    }
}
