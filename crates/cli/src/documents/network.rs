//! `network inspect`

use bld_engine::containers::Container;
use bld_engine::networks::Network;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A network in docker's form.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Document {
    name: String,
    id: String,
    created: String,
    scope: &'static str,
    driver: &'static str,
    #[serde(rename = "EnableIPv4")]
    enable_ipv4: bool,
    #[serde(rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    ipam: Value,
    internal: bool,
    attachable: bool,
    ingress: bool,
    config_from: Value,
    config_only: bool,
    containers: Value,
    options: Value,
    labels: Value,
}

/// The document of `network`, which has these `users`.
pub(crate) fn document(network: &Network, users: &[Container]) -> Document {
    let mut config = Map::new();
    if let Some(subnet) = network.subnet {
        config.insert("Subnet".to_owned(), json!(subnet.to_string()));
    }
    if let Some(range) = network.ip_range {
        config.insert("IPRange".to_owned(), json!(range.to_string()));
    }
    if let Some(gateway) = network.gateway {
        config.insert("Gateway".to_owned(), json!(gateway.to_string()));
    }
    if !network.auxiliary.is_empty() {
        config.insert("AuxiliaryAddresses".to_owned(), json!(network.auxiliary));
    }
    let mut config: Vec<Value> = if config.is_empty() { Vec::new() } else { vec![config.into()] };
    config.extend(
        network
            .v6
            .map(|v6| json!({"Subnet": v6.subnet.to_string(), "Gateway": v6.gateway.to_string()})),
    );
    let containers = users.iter().map(|container| (container.id.clone(), user(network, container)));
    Document {
        name: network.name.clone(),
        id: network.id.clone(),
        created: super::time(network.created),
        scope: "local",
        driver: network.driver.name(),
        enable_ipv4: true,
        enable_ipv6: network.v6.is_some(),
        ipam: json!({"Driver": "default", "Options": {}, "Config": config}),
        internal: network.internal,
        attachable: network.attachable,
        ingress: false,
        config_from: json!({"Network": ""}),
        config_only: false,
        containers: containers.collect::<Map<_, _>>().into(),
        options: super::labels(&network.options),
        labels: super::labels(&network.labels),
    }
}

fn user(network: &Network, container: &Container) -> Value {
    let place = container.networks.get(&network.name);
    let endpoint = place.and_then(|place| place.endpoint.as_ref());
    json!({
        "Name": container.name,
        "EndpointID": endpoint.map(|endpoint| endpoint.host_link.clone()).unwrap_or_default(),
        "MacAddress": endpoint.map(|endpoint| endpoint.mac.to_string()).unwrap_or_default(),
        "IPv4Address": endpoint
            .map(|endpoint| format!("{}/{}", endpoint.ip, endpoint.prefix))
            .unwrap_or_default(),
        "IPv6Address": endpoint
            .and_then(|endpoint| endpoint.v6)
            .map(|v6| format!("{}/{}", v6.ip, v6.prefix))
            .unwrap_or_default(),
    })
}
