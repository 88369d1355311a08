//! Logging in and out, and which registries are trusted.

use std::fs;

use bld_testkit::{Cmd, Registry};

use crate::env;

/// `s3cret`, as htpasswd keeps it for the user `me`.
pub(crate) const HTPASSWD: &str =
    "me:$2b$04$ZuKilVoRr3TYKx1oCQm0qORQTIOOCK.IPltJ8Y4W.OvyATnFjgzK.\n";

#[test]
fn a_password_is_checked_before_it_is_kept() {
    let env = env();
    let file = env.write("htpasswd", HTPASSWD);
    let registry = Registry::start_with(&[
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "test"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", file.to_str().unwrap()),
    ])
    .unwrap();
    let host = registry.host();
    let kept = env.home().join(".docker/config.json");
    let login = |password: &str| {
        env.bld(["login", "-u", "me", "--password-stdin", &host]).stdin(password).run()
    };

    let wrong = login("other\n").expect_code(1);
    assert!(wrong.stderr.contains("does not accept the credentials"), "{}", wrong.stderr);
    assert!(!kept.exists());
    let right = login("s3cret\n").expect_code(0);
    assert_eq!(right.stdout, "Login Succeeded\n");
    assert!(right.stderr.contains("stored unencrypted"), "{}", right.stderr);
    let again = env.bld(["login", &host]).run().expect_code(0);
    assert!(again.stderr.contains("existing credentials"), "{}", again.stderr);

    let image = format!("{host}/private/app:1");
    env.bld(["tag", "busybox", &image]).ok();
    env.bld(["push", &image]).ok();
    Cmd::new("skopeo")
        .args(["inspect", "--tls-verify=false", "--authfile"])
        .arg(&kept)
        .arg(format!("docker://{image}"))
        .ok();

    let out = env.bld(["logout", &host]).run().expect_code(0);
    assert_eq!(out.stdout, format!("Removing login credentials for {host}\n"));
    assert!(!fs::read_to_string(&kept).unwrap().contains(&host));
    let _ = env.bld(["push", &image]).run().expect_code(1);
    let _ = env.bld(["login", "--password-stdin", &host]).run().expect_code(1);
}

#[test]
fn an_authority_of_a_registry_is_found_and_a_flag_does_without() {
    let env = env();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../registry/tests/client/data");
    let registry = Registry::start_with(&[
        ("REGISTRY_HTTP_TLS_CERTIFICATE", &format!("{data}/server.pem")),
        ("REGISTRY_HTTP_TLS_KEY", &format!("{data}/server.key")),
    ])
    .unwrap();
    let image = format!("{}/app:1", registry.host());
    env.bld(["tag", "busybox", &image]).ok();
    let refused = env.bld(["push", &image]).run().expect_code(1);
    assert!(refused.stderr.contains("UnknownIssuer"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--tls-verify=false"), "{}", refused.stderr);
    env.bld(["push", "--tls-verify=false", &image]).ok();

    let own = env.home().join(".config/containers/certs.d").join(registry.host());
    fs::create_dir_all(&own).unwrap();
    fs::copy(format!("{data}/authority.pem"), own.join("ca.crt")).unwrap();
    env.bld(["pull", &image]).ok();
}
