//! What is said about an image, beside it: provenance and lists of packages.

use std::fs;

use bld_testkit::{Cmd, Registry, TestEnv, WebServer};
use serde_json::Value;

use crate::env;

/// The manifest or index that `image` names.
fn raw(image: &str) -> Value {
    let raw = ["inspect", "--raw", "--tls-verify=false"];
    let raw = Cmd::new("skopeo").args(raw).arg(format!("docker://{image}")).ok();
    serde_json::from_str(&raw.stdout).unwrap()
}

/// `bld image attestations` of a machine that has not built what it is asked about.
fn attestations(env: &TestEnv, arguments: &[&str]) -> Cmd {
    let command = env.bld(["image", "attestations"]).args(arguments);
    command.env("BLD_ROOT", env.path("another-store"))
}

/// The statement of this type about `image`, at its registry or in a layout.
fn statement(env: &TestEnv, image: &str, kind: &str) -> Value {
    let shown = attestations(env, &["--type", kind, image]).ok();
    serde_json::from_str(shown.text()).unwrap()
}

const WITH_PACKAGE: &str = "FROM busybox\nARG WHO WHAT\n\
    RUN mkdir -p /lib/apk/db && printf 'P:musl\\nV:1\\nA:x\\n' > /lib/apk/db/installed\n";

#[test]
fn an_image_stays_a_plain_manifest() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let image = format!("{}/app:1", registry.host());
    env.write("secret", "hunter2\n");
    let built = env.build(
        &image,
        WITH_PACKAGE,
        [
            "--push",
            "--provenance=mode=max,builder-id=https://me.example",
            "--sbom=true",
            "--build-arg=WHO=me",
            "--build-arg=WHAT=x-hunter2",
            "--label=of=mine",
            "--secret=id=pass,src=secret",
            "--metadata-file=metadata.json",
        ],
    );
    let _ = built.expect_code(0);
    let manifest = raw(&image);
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let metadata: Value =
        serde_json::from_slice(&fs::read(env.path("metadata.json")).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap();

    // The registry keeps no list, so there is one under a tag.
    let list = raw(&format!("{}/app:{}", registry.host(), digest.replace(':', "-")));
    assert_eq!(list["manifests"].as_array().unwrap().len(), 1);
    let kind = "application/vnd.docker.attestation.manifest.v1+json";
    assert_eq!(list["manifests"][0]["artifactType"], kind);
    let artifact = list["manifests"][0]["digest"].as_str().unwrap();
    let artifact = raw(&format!("{}/app@{artifact}", registry.host()));
    assert_eq!(artifact["subject"]["digest"], digest);
    assert_eq!(artifact["layers"][0]["mediaType"], "application/vnd.in-toto+json");
    let kinds = artifact["layers"].as_array().unwrap().iter();
    let kinds = kinds.map(|layer| layer["annotations"]["in-toto.io/predicate-type"].clone());
    let kinds: Vec<_> = kinds.collect();
    assert_eq!(kinds, ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document"]);

    let provenance = statement(&env, &image, "provenance");
    assert_eq!(provenance["subject"][0]["digest"]["sha256"], digest["sha256:".len()..]);
    let made = &provenance["predicate"];
    assert_eq!(made["runDetails"]["builder"]["id"], "https://me.example");
    let request = &made["buildDefinition"]["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:WHO"], "me");
    assert_eq!(request["args"]["label:of"], "mine");
    assert_eq!(request["secrets"][0]["id"], "pass");
    assert!(!provenance.to_string().contains("hunter2"), "{provenance}");
    let used = &made["buildDefinition"]["resolvedDependencies"][0]["uri"];
    assert!(used.as_str().unwrap().starts_with("pkg:docker/busybox@latest?platform="), "{used}");
    let sbom = statement(&env, &image, "sbom");
    assert_eq!(sbom["predicate"]["packages"][1]["name"], "musl");
    let listed = attestations(&env, &[&image]).ok();
    assert_eq!(listed.stdout.lines().count(), 3, "{listed}");
    let missing = attestations(&env, &["--type", "x", &image]).run();
    let _ = missing.expect_code(1).expect_text("no attestation of type x");
}

#[test]
fn less_is_said_unless_asked_for() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let image = format!("{}/app:1", registry.host());
    env.write("srv/file", "x");
    let server = WebServer::start(&env.path("srv")).unwrap();
    let address = server.url().replace("http://", "http://me:hunter2@");
    let dockerfile = format!("FROM scratch\nARG WHO\nADD {address}/file /\n");
    let asked = ["--push", "--attest=type=provenance,version=v0.2", "--build-arg=WHO=me"];
    let _ = env.build(&image, &dockerfile, asked).expect_code(0);
    let provenance = statement(&env, &image, "https://slsa.dev/provenance/v0.2");
    let made = &provenance["predicate"];
    assert_eq!(made["invocation"]["parameters"]["args"], serde_json::json!({}));
    assert_eq!(made["metadata"]["completeness"]["parameters"], false);
    assert_eq!(made["materials"][0]["digest"]["sha256"].as_str().unwrap().len(), 64);
    assert!(!provenance.to_string().contains("hunter2"), "{provenance}");
}

#[test]
fn an_index_is_written_on_request() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let image = format!("{}/app:1", registry.host());
    let asked = ["--push", "--provenance=store=index", "--sbom=true", "--metadata-file=m.json"];
    let _ = env.build(&image, WITH_PACKAGE, asked).expect_code(0);
    let index = raw(&image);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let [made, said] = [&index["manifests"][0], &index["manifests"][1]];
    assert_eq!(said["platform"]["architecture"], "unknown");
    let annotations = &said["annotations"];
    assert_eq!(annotations["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(annotations["vnd.docker.reference.digest"], made["digest"]);
    let metadata: Value = serde_json::from_slice(&fs::read(env.path("m.json")).unwrap()).unwrap();
    let named = ["inspect", "--format", "{{.Digest}}", "--tls-verify=false"];
    let named = Cmd::new("skopeo").args(named).arg(format!("docker://{image}")).ok();
    assert_eq!(metadata["containerimage.digest"], named.text());
    let provenance = statement(&env, &image, "provenance");
    let subject =
        format!("sha256:{}", provenance["subject"][0]["digest"]["sha256"].as_str().unwrap());
    assert_eq!(made["digest"], subject.as_str());
    statement(&env, &image, "sbom");
    let _ = env.bld(["pull", "-q", &image]).ok();
}

#[test]
fn files_have_them_beside_them() {
    let env = env();
    let built = ["-o", "out", "--provenance=true", "--sbom=false"];
    let _ = env.build("x:1", "FROM busybox\n", built).expect_code(0);
    let made: Value =
        serde_json::from_slice(&fs::read(env.path("out/provenance.json")).unwrap()).unwrap();
    assert_eq!(
        made["buildDefinition"]["externalParameters"]["request"]["frontend"],
        "dockerfile.v0"
    );
    let said = &made["runDetails"]["metadata"]["buildkit_reproducible"];
    assert_eq!(*said, false);
    let built = ["-o", "none", "--provenance=inline-only=true", "--sbom=true"];
    let _ = env.build("x:1", "FROM busybox\n", built).expect_code(0);
    assert!(!env.path("none/provenance.json").exists());
    assert!(env.path("none/sbom.spdx.json").exists());
    // A context that was brought here is a part of it.
    env.write("srv/file", "FROM busybox\n");
    let server = WebServer::start(&env.path("srv")).unwrap();
    let context = format!("{}/file", server.url());
    let _ = env.bld(["build", "-o", "other", "--provenance=true", &context]).ok();
    let made: Value =
        serde_json::from_slice(&fs::read(env.path("other/provenance.json")).unwrap()).unwrap();
    let used = made["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let used = used.iter().find(|one| one["uri"] == context.as_str()).unwrap();
    let digest = bld_oci::Digest::of(b"FROM busybox\n").hex();
    assert_eq!(used["digest"]["sha256"], digest.as_str());
    let tar = ["-o", "type=tar,dest=x.tar", "--provenance=true"];
    let built = env.build("x:1", "FROM busybox\n", tar).expect_code(0);
    let _ = built.expect_text("in OCI archives, and in directories, and nowhere else");
    let built = env.build("x:1", "FROM busybox\n", ["--provenance=mode=all"]);
    let _ = built.expect_code(1).expect_text("mode cannot be \"all\"");
}

/// Two images with different packages.
const OF_EACH: &str = "FROM scratch AS amd64\nCOPY one /lib/apk/db/installed\n\
    FROM scratch AS arm64\nCOPY two /lib/apk/db/installed\nFROM ${TARGETARCH}\n";

#[test]
fn each_image_of_an_index_has_its_own() {
    let (env, registry) = (env(), Registry::start().unwrap());
    for (file, name) in [("one", "musl"), ("two", "zlib")] {
        env.write(&format!("ctx/{file}"), format!("P:{name}\nV:1\nA:x\n"));
    }
    let dockerfile = format!("ARG TARGETARCH\n{OF_EACH}");
    let platforms = "--platform=linux/amd64,linux/arm64";
    for (tag, store) in [("plain", "referrer"), ("enclosed", "index")] {
        let image = format!("{}/app:{tag}", registry.host());
        let provenance = format!("--provenance=store={store}");
        let annotation = "--annotation=index:a=b";
        let asked = ["--push", platforms, "--sbom=true", &provenance, "--metadata-file=m.json"];
        let asked = asked.into_iter().chain([annotation]);
        let _ = env.build(&image, &dockerfile, asked).expect_code(0);
        let index = raw(&image);
        assert_eq!(index["annotations"]["a"], "b");
        let manifests = index["manifests"].as_array().unwrap();
        let said = manifests.iter().filter(|m| m["platform"]["architecture"] == "unknown");
        let said: Vec<_> = said.collect();
        let images = manifests.iter().filter(|m| m["platform"]["architecture"] != "unknown");
        let images: Vec<_> = images.collect();
        assert_eq!((images.len(), said.len()), (2, if store == "index" { 2 } else { 0 }));
        for (image, said) in images.iter().zip(&said) {
            assert_eq!(said["annotations"]["vnd.docker.reference.digest"], image["digest"]);
        }
        let format = "{{json .SBOM}}";
        let shown = env.bld(["imagetools", "inspect", "--format", format, &image]).ok();
        let sboms: Value = serde_json::from_str(&shown.stdout).unwrap();
        for (platform, package) in [("linux/amd64", "musl"), ("linux/arm64", "zlib")] {
            let packages = &sboms[platform]["SPDX"]["packages"];
            assert_eq!(packages[1]["name"], package, "{sboms}");
        }
        let listed = attestations(&env, &[&image]).ok().stdout;
        let provenances = listed.lines().filter(|line| line.contains("provenance")).count();
        // As referrers, how they were made is about all of them.
        assert_eq!(provenances, if store == "index" { 2 } else { 1 }, "{listed}");
        let metadata: Value =
            serde_json::from_slice(&fs::read(env.path("m.json")).unwrap()).unwrap();
        let named = ["inspect", "--format", "{{.Digest}}", "--tls-verify=false"];
        let named = Cmd::new("skopeo").args(named).arg(format!("docker://{image}")).ok();
        assert_eq!(metadata["containerimage.digest"], named.text());
    }
}

#[test]
fn directories_of_several_platforms_have_theirs_in_each() {
    let env = env();
    let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /lib/apk/db/installed\n";
    for (file, name) in [("amd64", "musl"), ("arm64", "zlib")] {
        env.write(&format!("ctx/{file}"), format!("P:{name}\nV:1\nA:x\n"));
    }
    let asked = ["--platform=linux/amd64,linux/arm64", "-o", "out", "--attest=type=provenance"];
    let _ = env.build("x:1", dockerfile, asked.into_iter().chain(["--sbom=true"])).expect_code(0);
    for (dir, name) in [("linux_amd64", "musl"), ("linux_arm64", "zlib")] {
        let read = |file: &str| fs::read(env.path(format!("out/{dir}/{file}"))).unwrap();
        let sbom: Value = serde_json::from_slice(&read("sbom.spdx.json")).unwrap();
        assert_eq!(sbom["packages"][1]["name"], name);
        read("provenance.json");
    }
}

/// What the index of the only image in a layout lists: `true` is what is said of an image.
fn listed(dir: &std::path::Path) -> Vec<bool> {
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(dir.join(path)).unwrap()).unwrap()
    };
    let top = read("index.json")["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let index = read(&format!("blobs/{top}"));
    let manifests = index["manifests"].as_array().unwrap();
    manifests.iter().map(|one| one["platform"]["architecture"] == "unknown").collect()
}

#[test]
fn archives_have_them_in_their_index() {
    let env = env();
    for (file, name) in [("one", "musl"), ("two", "zlib")] {
        env.write(&format!("ctx/{file}"), format!("P:{name}\nV:1\nA:x\n"));
    }
    let dockerfile = format!("ARG TARGETARCH\n{OF_EACH}");
    for (platforms, expected) in [
        ("linux/amd64", &[false, true][..]),
        ("linux/amd64,linux/arm64", &[false, false, true, true]),
    ] {
        for output in ["type=oci,tar=false", "type=oci"] {
            let dest = env.path(format!("{}-{}", expected.len(), output.len()));
            let (platform, output) =
                (format!("--platform={platforms}"), format!("{output},dest={}", dest.display()));
            let asked = ["-o", &output, &platform, "--provenance=mode=max", "--sbom=true"];
            let _ = env.build("example.com/app:1", &dockerfile, asked).expect_code(0);
            let layout = if dest.is_dir() {
                dest.clone()
            } else {
                let layout = dest.with_extension("d");
                fs::create_dir(&layout).unwrap();
                Cmd::new("tar").arg("-xf").arg(&dest).arg("-C").arg(&layout).ok();
                layout
            };
            assert_eq!(listed(&layout), expected);
            let image = format!("oci-layout://{}", layout.display());
            let shown =
                env.bld(["imagetools", "inspect", "--format", "{{json .SBOM}}", &image]).ok();
            let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
            let sbom = if expected.len() == 2 { &shown } else { &shown["linux/arm64"] };
            let name = if expected.len() == 2 { "musl" } else { "zlib" };
            assert_eq!(sbom["SPDX"]["packages"][1]["name"], name, "{shown}");
            let all = attestations(&env, &[&image]).ok();
            assert_eq!(all.stdout.lines().count(), 1 + expected.len(), "{all}");
            // Nobody takes them for an image.
            let kind = if dest.is_dir() { "oci" } else { "oci-archive" };
            let to = format!("dir:{}", layout.with_extension("copy").display());
            let copy = ["copy", "--quiet", "--insecure-policy", "--all"];
            Cmd::new("skopeo").args(copy).args([&format!("{kind}:{}", dest.display()), &to]).ok();
            let _ = env.bld(["load", "-i"]).arg(&dest).ok();
        }
    }
}

#[test]
fn the_store_keeps_them_until_they_are_pushed_or_saved() {
    let (env, registry) = (env(), Registry::start().unwrap());
    for (file, name) in [("one", "musl"), ("two", "zlib")] {
        env.write(&format!("ctx/{file}"), format!("P:{name}\nV:1\nA:x\n"));
    }
    let dockerfile = format!("ARG TARGETARCH\n{OF_EACH}");
    for (n, platforms) in ["linux/amd64", "linux/amd64,linux/arm64"].into_iter().enumerate() {
        for store in ["referrer", "index"] {
            let image = format!("{}/app{n}-{store}:1", registry.host());
            let provenance = format!("--provenance=store={store}");
            let platform = format!("--platform={platforms}");
            let asked = [&*platform, &provenance, "--sbom=true"];
            let _ = env.build(&image, &dockerfile, asked).expect_code(0);
            let here = env.bld(["image", "attestations", &image]).ok().stdout;
            assert_eq!(here.lines().count(), 3 + 2 * n, "{here}");
            // They outlive a collection of garbage.
            env.bld(["builder", "prune", "-af"]).ok();
            env.bld(["push", "-q", &image]).ok();
            let images = platforms.split(',').count();
            let plain = store == "referrer" && n == 0;
            let manifests = raw(&image)["manifests"].as_array().map_or(0, Vec::len);
            assert_eq!(
                manifests,
                if plain { 0 } else { images * if store == "index" { 2 } else { 1 } }
            );
            let there = attestations(&env, &[&image]).ok().stdout;
            // As referrers, how they were made is said of all of them at once.
            let fewer = usize::from(n == 1 && store == "referrer");
            assert_eq!(there.lines().count(), 1 + 2 * images - fewer, "{there}");
            let dir = env.path(format!("{n}-{store}"));
            env.bld(["save", "--format", "oci-dir", &image, "-o"]).arg(&dir).ok();
            let mut expected = vec![false; images];
            expected.extend(vec![true; images]);
            assert_eq!(listed(&dir), expected);
        }
    }
    // What is built without has none.
    let image = format!("{}/app0-referrer:1", registry.host());
    let _ = env.build(&image, &dockerfile, ["--platform=linux/amd64"]).expect_code(0);
    let dir = env.path("without");
    env.bld(["save", "--format", "oci-dir", &image, "-o"]).arg(&dir).ok();
    let index = fs::read_to_string(dir.join("index.json")).unwrap();
    assert!(index.contains("image.manifest"), "{index}");
    env.assert_nothing_left();
}
