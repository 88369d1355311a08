//! Certificates: those of the system, those a setting adds, and none.

use std::path::Path;

use bld_registry::{Config, RegistryConfig};
use bld_testkit::Registry;

use crate::support::{TestStore, chain, client, image, pull, push, put, quick, reference};

/// A certificate for localhost and 127.0.0.1, signed by `authority.pem`; both end in a hundred
/// years.
fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client/data").join(name);
    path.to_str().unwrap().to_owned()
}

fn registry() -> Registry {
    Registry::start_with(&[
        ("REGISTRY_HTTP_TLS_CERTIFICATE", &data("server.pem")),
        ("REGISTRY_HTTP_TLS_KEY", &data("server.key")),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_refused_unless_allowed() {
    let registry = registry();
    let store = TestStore::new();
    let manifest = put(&store, &image(1, &[1000]));
    let name = reference(&registry.host(), "app:1");

    let error = push(&client(quick()), &store, &name, &manifest).await.unwrap_err();
    assert_eq!(
        chain(&error),
        format!(
            "registry {} cannot be reached: invalid peer certificate: UnknownIssuer",
            registry.host()
        )
    );

    let authority = std::fs::read(data("authority.pem")).unwrap();
    let for_all = Config { authorities: vec![authority.clone()], ..quick() };
    push(&client(for_all), &store, &name, &manifest).await.unwrap();

    let own = RegistryConfig { authorities: vec![authority], ..RegistryConfig::default() };
    let insecure = RegistryConfig { insecure: true, ..RegistryConfig::default() };
    for settings in [own, insecure] {
        let config = Config { registries: [(registry.host(), settings)].into(), ..quick() };
        pull(&client(config), &TestStore::new(), &name).await.unwrap();
    }
    let config = Config { tls_verify: false, ..quick() };
    pull(&client(config), &TestStore::new(), &name).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_for_another_registry_does_not_count() {
    let registry = registry();
    let authorities = vec![std::fs::read(data("authority.pem")).unwrap()];
    let settings = RegistryConfig { authorities, ..RegistryConfig::default() };
    let config = Config { registries: [("r.example".to_owned(), settings)].into(), ..quick() };
    let error = client(config).resolve(&reference(&registry.host(), "app")).await.unwrap_err();
    assert!(chain(&error).contains("UnknownIssuer"), "{}", chain(&error));
}
