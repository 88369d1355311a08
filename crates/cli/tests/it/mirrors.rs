//! How registries are spoken to, by what an administrator says: mirrors, certificates, plain HTTP.

use std::fs;
use std::path::PathBuf;

use bld_testkit::http::{Reply, Request, Server};
use bld_testkit::{Authority, Registry, TestEnv};

use crate::env;
use crate::login::HTPASSWD;

/// Writes the settings of `registry`, where those of `bld` are; the directory.
fn settings(env: &TestEnv, registry: &str, hosts: &str) -> PathBuf {
    let dir = env.home().join(".config/bld/certs.d").join(registry);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("hosts.toml"), hosts).unwrap();
    dir
}

/// A registry over TLS that lets only those in who show a certificate.
fn reserved(authority: &Authority) -> Registry {
    let clients = format!("[{}]", authority.certificate().display());
    let tls = authority.registry();
    let mut settings: Vec<_> = tls.iter().map(|(key, value)| (*key, value.as_str())).collect();
    settings.push(("REGISTRY_HTTP_TLS_CLIENTCAS", &clients));
    Registry::start_with(&settings).unwrap()
}

/// Pulls `image` into a store of its own, which has nothing yet.
fn pull(env: &TestEnv, store: &str, image: &str) -> bld_testkit::Output {
    env.bld(["pull", image]).env("BLD_ROOT", env.path(store)).run()
}

#[test]
fn mirrors_are_asked_first_and_see_no_credentials_of_the_registry() {
    let env = env();
    let file = env.write("htpasswd", HTPASSWD);
    let closed = Registry::start_with(&[
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "test"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", file.to_str().unwrap()),
    ])
    .unwrap();
    let open = Registry::start().unwrap();
    let origin = Server::before(&closed.host(), |_| Reply::Pass);
    let mirror = Server::before(&open.host(), |_| Reply::Pass);
    // Who asks for a password would like to have one.
    let tempting = Server::new(|_| {
        let challenge = ("WWW-Authenticate", "Basic realm=\"test\"".to_owned());
        Reply::Answer(401, vec![challenge], Vec::new())
    });
    let hosts = format!(
        "[host.'http://{}']\n[host.'http://{}']\ncapabilities = ['pull']\n\
         [host.'http://{1}'.header]\nx-key = 'geheim'\n",
        tempting.host(),
        mirror.host()
    );
    settings(&env, &origin.host(), &hosts);
    let login = ["login", "-u", "me", "--password-stdin", &origin.host()];
    let _ = env.bld(login).stdin("s3cret\n").run().expect_code(0);
    let image = format!("{}/team/app:1", origin.host());
    env.bld(["tag", "busybox", &image]).ok();
    env.bld(["push", &image]).ok();
    let written = |server: &Server| {
        server.log().iter().filter(|request| !matches!(&*request.method, "GET" | "HEAD")).count()
    };
    assert!(written(&origin) > 0);
    assert_eq!(written(&mirror) + written(&tempting), 0, "a push goes to the registry itself");
    let copy = format!("{}/team/app:1", open.host());
    env.bld(["tag", "busybox", &copy]).ok();
    env.bld(["push", &copy]).ok();

    let _ = pull(&env, "second", &image).expect_code(0);
    assert_eq!(origin.seen("GET", "/blobs/").len(), 0, "the mirror has them");
    let blobs = mirror.seen("GET", "/blobs/");
    assert_eq!(blobs.len(), 2);
    let namespace = format!("?ns={}", origin.host().replace(':', "%3A"));
    for request in &blobs {
        assert!(request.target.ends_with(&namespace), "{request:?}");
        assert_eq!(request.header("x-key"), Some("geheim"));
    }
    let tags = |server: &Server| server.seen("GET", "/manifests/1").len();
    assert_eq!([tags(&mirror), tags(&origin)], [0, 1], "tags are not resolved by that mirror");
    assert!(!tempting.seen("GET", "/manifests/1").is_empty(), "the first one is asked first");
    let authorized = |request: &&Request| request.header("authorization").is_some();
    assert!(origin.log().iter().any(|request| authorized(&request)));
    for server in [&mirror, &tempting] {
        assert_eq!(server.log().iter().find(authorized).map(|request| &request.target), None);
    }
    for request in origin.log().iter().chain(&tempting.log()) {
        assert_eq!(request.header("x-key"), None, "{request:?}");
    }

    drop(mirror);
    drop(tempting);
    let _ = pull(&env, "third", &image).expect_code(0);
    assert_eq!(origin.seen("GET", "/blobs/").len(), 2, "at last, the registry itself");
}

#[test]
fn a_registry_may_be_elsewhere_and_all_may_have_a_mirror() {
    let env = env();
    let registry = Registry::start().unwrap();
    let server = Server::before(&registry.host(), |_| Reply::Pass);
    settings(&env, "r.invalid", &format!("server = 'http://{}'\n", server.host()));
    env.bld(["tag", "busybox", "r.invalid/team/app:1"]).ok();
    env.bld(["push", "r.invalid/team/app:1"]).ok();
    let _ = pull(&env, "second", "r.invalid/team/app:1").expect_code(0);
    let shown = env.bld(["imagetools", "inspect", "r.invalid/team/app:1"]).ok();
    assert!(shown.stdout.contains("r.invalid/team/app:1"), "{shown}");

    settings(&env, "_default", &format!("[host.'http://{}']\n", server.host()));
    let _ = pull(&env, "third", "other.invalid:5000/team/app:1").expect_code(0);
    assert_eq!(server.seen("GET", "ns=other.invalid%3A5000").len(), 3);
    // A path in front of the version of the API, and one that stands for all of it.
    for (path, more) in [("/proxy", ""), ("/v2/proxy", "override_path = true\n")] {
        let hosts = format!("[host.'http://{}{path}']\n{more}", server.host());
        settings(&env, "_default", &hosts);
        let _ = pull(&env, "fourth", "other.invalid/app:1").expect_code(1);
    }
    assert_eq!(server.seen("GET", "/proxy/v2/app/manifests/1").len(), 1);
    assert_eq!(server.seen("GET", "/v2/proxy/app/manifests/1").len(), 1);
}

#[test]
fn a_registry_gets_to_see_who_we_are() {
    let env = env();
    let authority = Authority::new();
    let registry = reserved(&authority);
    let (host, image) = (registry.host(), format!("{}/app:1", registry.host()));
    env.bld(["tag", "busybox", &image]).ok();
    let certs = env.home().join(".config/docker/certs.d");
    authority.install(&certs, &host, false);
    let refused = env.bld(["push", &image]).run().expect_code(1);
    assert!(!refused.stderr.contains("UnknownIssuer"), "{refused}");
    authority.install(&certs, &host, true);
    env.bld(["push", &image]).ok();

    let own = settings(&env, &host, "ca = 'ca.crt'\nclient = [['client.cert', 'client.key']]\n");
    for file in ["ca.crt", "client.cert", "client.key"] {
        fs::rename(certs.join(&host).join(file), own.join(file)).unwrap();
    }
    let _ = pull(&env, "second", &image).expect_code(0);
    // Of what is wrong with a key, nothing is shown but where it is.
    fs::write(own.join("client.key"), "-----BEGIN PRIVATE KEY-----\ngeheim\n").unwrap();
    let broken = pull(&env, "third", &image).expect_code(1);
    assert!(broken.stderr.contains("client.cert: it is no certificate with"), "{broken}");
    assert!(!broken.stderr.contains("geheim"), "{broken}");
    let plain = Registry::start().unwrap();
    let other = format!("{}/app:1", plain.host());
    env.bld(["tag", "busybox", &other]).ok();
    env.bld(["push", &other]).ok();
}

#[test]
fn one_cache_or_output_may_go_to_a_registry_that_is_not_trusted() {
    let env = env();
    let authority = Authority::new();
    let tls = authority.registry();
    let tls: Vec<_> = tls.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let registry = Registry::start_with(&tls).unwrap();
    let dockerfile = "FROM busybox\nRUN echo 1 >/one\n";
    let place = |flag: &str, key: &str, more: &str| {
        format!("{flag}=type=registry,{key}={}/app:{key}{more}", registry.host())
    };
    let insecure = ",registry.insecure=true";
    for (flag, key) in [("--cache-to", "ref"), ("--output", "name")] {
        for (more, code) in [("", 1), (",registry.insecure=false", 1), (insecure, 0)] {
            let word = place(flag, key, more);
            let tag = format!("{}/app:{key}", registry.host());
            let built = env.build(&tag, dockerfile, ["--network=none", &word]);
            let built = built.expect_code(code);
            assert_eq!(built.stderr.contains("UnknownIssuer"), code == 1, "{built}");
        }
    }
    let second = env.path("second");
    let base = env.path("../busybox.tar");
    env.bld(["load", "-i"]).arg(base).env("BLD_ROOT", &second).ok();
    let from = place("--cache-from", "ref", insecure);
    let built = env
        .bld(["build", "--progress=plain", "--network=none", &from, "-f-", "ctx"])
        .env("BLD_ROOT", &second)
        .stdin(dockerfile)
        .ok();
    assert!(built.stderr.contains("CACHED"), "{built}");
}
