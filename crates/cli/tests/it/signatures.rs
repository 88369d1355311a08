//! Signatures: what others make of ours, and we of theirs.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bld_testkit::{Cmd, Registry, TestEnv};
use serde_json::Value;

use crate::env;

/// A pair of keys, made by openssl: private and public.
fn keys(env: &TestEnv, name: &str) -> (PathBuf, PathBuf) {
    let (private, public) = (env.path(format!("{name}.key")), env.path(format!("{name}.pub")));
    let new = ["ecparam", "-name", "prime256v1", "-genkey", "-out"];
    Cmd::new("openssl").args(new).arg(&private).ok();
    Cmd::new("openssl").args(["ec", "-pubout", "-in"]).arg(&private).arg("-out").arg(&public).ok();
    (private, public)
}

/// A busybox at `registry`, and its name there.
fn pushed(env: &TestEnv, registry: &Registry) -> String {
    let image = format!("{}/app:1", registry.host());
    let _ = env.bld(["tag", "busybox", &image]).ok();
    let _ = env.bld(["push", "-q", &image]).ok();
    image
}

/// The manifest that `image` names.
fn manifest(image: &str) -> Value {
    let raw = ["inspect", "--raw", "--tls-verify=false"];
    let raw = Cmd::new("skopeo").args(raw).arg(format!("docker://{image}")).ok();
    serde_json::from_str(&raw.stdout).unwrap()
}

fn verify(env: &TestEnv, key: &Path, image: &str) -> Cmd {
    env.bld(["verify", "--key"]).arg(key).arg(image)
}

#[test]
fn openssl_agrees_with_a_signature() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let (private, public) = keys(&env, "mine");
    let image = pushed(&env, &registry);
    let none = verify(&env, &public, &image).run();
    let _ = none.expect_code(10).expect_text("no signatures found for");
    let signed = env.bld(["sign", "-a", "who=me", "--key"]).arg(&private).arg(&image).ok();
    let _ = signed.expect_text(".sig");

    let digest = ["inspect", "--format", "{{.Digest}}", "--tls-verify=false"];
    let digest = Cmd::new("skopeo").args(digest).arg(format!("docker://{image}")).ok();
    let (digest, name) = (digest.text().to_owned(), format!("{}/app", registry.host()));
    let place = format!("{name}:{}.sig", digest.replace(':', "-"));
    let layer = &manifest(&place)["layers"][0];
    let kind = "application/vnd.dev.cosign.simplesigning.v1+json";
    assert_eq!(layer["mediaType"], kind);
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
    let signature = env.write("signature", STANDARD.decode(signature).unwrap());
    let blob = layer["digest"].as_str().unwrap().replace(':', "/");
    let (kind, hex) = blob.split_once('/').unwrap();
    let statement = registry.data().join("blobs").join(kind).join(&hex[..2]).join(hex).join("data");
    let checked = Cmd::new("openssl").args(["dgst", "-sha256", "-verify"]).arg(&public);
    let checked = checked.arg("-signature").arg(&signature).arg(&statement).ok();
    assert_eq!(checked.text(), "Verified OK");
    let statement: Value = serde_json::from_slice(&std::fs::read(statement).unwrap()).unwrap();
    assert_eq!(statement["critical"]["image"]["docker-manifest-digest"], digest.as_str());
    assert_eq!(statement["critical"]["identity"]["docker-reference"], name.as_str());
    assert_eq!(statement["optional"]["who"], "me");

    let verified = verify(&env, &public, &image).args(["-a", "who=me"]).ok();
    assert_eq!(serde_json::from_str::<Value>(verified.text()).unwrap()[0], statement);
    let other = verify(&env, &public, &image).args(["-a", "who=you"]).run();
    let _ = other.expect_code(12).expect_text("does not say who=you");
}

#[test]
fn each_key_speaks_for_itself() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let ((one, one_public), (two, two_public)) = (keys(&env, "one"), keys(&env, "two"));
    let image = pushed(&env, &registry);
    let _ = env.bld(["push", "-q", "--sign"]).arg(&one).arg(&image).ok();
    let _ = verify(&env, &one_public, &image).ok();
    let wrong = verify(&env, &two_public, &image).run();
    let _ = wrong.expect_code(12).expect_text("a signature was not made with this key");
    let _ = env.bld(["sign", "--key"]).arg(&two).arg(&image).ok();
    let again = env.bld(["sign", "--key"]).arg(&two).arg(&image).ok();
    let _ = again.expect_text("is signed with this key already");
    for public in [&one_public, &two_public] {
        let statements = verify(&env, public, &image).ok();
        let statements: Value = serde_json::from_str(statements.text()).unwrap();
        assert_eq!(statements.as_array().unwrap().len(), 1);
    }
    // The signature is one of that image, not of the name.
    let built = format!("FROM busybox\nLABEL of={image}\n");
    let _ = env.build(&image, &built, ["--push"]).expect_code(0);
    let _ = verify(&env, &one_public, &image).run().expect_code(10);
    let build = ["--push", "--sign", &one.display().to_string()];
    let _ = env.build(&image, &built, build).expect_code(0);
    let _ = verify(&env, &one_public, &image).ok();
    let text = env.write("text", "no key");
    let refused = env.bld(["sign", "--key"]).arg(&text).arg(&image).run();
    let _ = refused.expect_code(1).expect_text("there is no private key in PEM format in it");
    let refused = env.build("x:1", &built, ["--sign", &one.display().to_string()]);
    let _ = refused.expect_code(1).expect_text("--push");
}

#[test]
fn a_sealed_key_needs_its_password() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let image = pushed(&env, &registry);
    let keys = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/src/sign/testdata/sealed");
    let sign = || env.bld(["sign", "--key", &format!("{keys}.key"), &image]);
    let refused = sign().env_remove("COSIGN_PASSWORD").run();
    let refused = refused.expect_code(1).expect_text("it is encrypted, and there is no password");
    let _ = refused.expect_text("hint: the password is taken from $COSIGN_PASSWORD");
    let refused = sign().env("COSIGN_PASSWORD", "wrong").run();
    let _ = refused.expect_code(1).expect_text("the password is wrong");
    let _ = sign().env("COSIGN_PASSWORD", "correct").ok();
    let _ = verify(&env, Path::new(&format!("{keys}.pub")), &image).ok();
}
