//! Attestations that came with an image: they stay with it, and leave with it as they came.

use std::fs;

use bld_testkit::{Cmd, Registry, TestEnv};
use serde_json::Value;

use crate::env;

const DOCKERFILE: &str = "ARG TARGETARCH\n\
    FROM scratch AS amd64\nCOPY one /lib/apk/db/installed\n\
    FROM scratch AS arm64\nCOPY two /lib/apk/db/installed\nFROM ${TARGETARCH}\n";

/// Who makes the images.
fn maker() -> TestEnv {
    let env = env();
    for (file, name) in [("one", "musl"), ("two", "zlib")] {
        env.write(&format!("ctx/{file}"), format!("P:{name}\nV:1\nA:x\n"));
    }
    env
}

/// The digest that a name has at its registry.
fn digest(image: &str) -> String {
    let inspect = ["inspect", "--raw", "--tls-verify=false"];
    let raw = Cmd::new("skopeo").args(inspect).arg(format!("docker://{image}")).ok();
    bld_oci::Digest::of(raw.stdout.as_bytes()).to_string()
}

/// The digest that the only image of a layout has.
fn in_layout(dir: &std::path::Path) -> String {
    let index: Value = serde_json::from_slice(&fs::read(dir.join("index.json")).unwrap()).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// Lines about attestations of an image, as the store keeps them.
fn kept(env: &TestEnv, image: &str) -> String {
    env.bld(["image", "attestations", image]).ok().stdout
}

#[test]
fn an_index_with_attestations_stays_whole() {
    let [near, far] = [Registry::start().unwrap(), Registry::start().unwrap()];
    let maker = maker();
    for (name, platforms) in [("one", "linux/amd64"), ("two", "linux/amd64,linux/arm64")] {
        let [from, to] = [&near, &far].map(|registry| format!("{}/{name}:1", registry.host()));
        let platform = format!("--platform={platforms}");
        let asked = [&*platform, "--push", "--provenance=mode=max,store=index", "--sbom=true"];
        let annotation = platforms.contains(',').then_some("--annotation=index:of=mine");
        let asked = asked.into_iter().chain(annotation);
        let _ = maker.build(&from, DOCKERFILE, asked).expect_code(0);
        let made = digest(&from);
        let said = kept(&maker, &from).lines().count();
        assert_eq!(said, 1 + 2 * platforms.split(',').count());

        // By way of an archive that another tool has made, and out again.
        let archive = maker.path(format!("{name}.tar"));
        let place = format!("oci-archive:{}:{to}", archive.display());
        let copy = ["copy", "--quiet", "--insecure-policy", "--all", "--src-tls-verify=false"];
        Cmd::new("skopeo").args(copy).args([&format!("docker://{from}"), &place]).ok();
        let other = env();
        other.bld(["load", "-i"]).arg(&archive).ok();
        other.bld(["builder", "prune", "-af"]).ok();
        assert_eq!(kept(&other, &to).lines().count(), said);
        let dir = other.path("saved");
        other.bld(["save", "--format", "oci-dir", &to, "-o"]).arg(&dir).ok();
        assert_eq!(in_layout(&dir), made, "{name}");
        other.bld(["push", "-q", &to]).ok();
        assert_eq!(digest(&to), made, "{name}");
        // Docker's archives have no place for them.
        let plain = other.path("plain.tar");
        other.bld(["save", &to, "-o"]).arg(&plain).ok();
        let third = env();
        third.bld(["load", "-i"]).arg(&dir).ok();
        assert_eq!(kept(&third, &to).lines().count(), said);
    }

    // What a pull brings is for one platform: with one in the index, the index is whole.
    let (from, to) = (format!("{}/one:1", near.host()), format!("{}/pulled:1", far.host()));
    let other = env();
    other.bld(["pull", "-q", &from]).ok();
    other.bld(["tag", &from, &to]).ok();
    other.bld(["push", "-q", &to]).ok();
    assert_eq!(digest(&to), digest(&from));
    let (from, to) = (format!("{}/two:1", near.host()), format!("{}/half:1", far.host()));
    other.bld(["pull", "-q", "--platform=linux/arm64", &from]).ok();
    other.bld(["tag", &from, &to]).ok();
    other.bld(["push", "-q", &to]).ok();
    let sbom = ["imagetools", "inspect", "--format", "{{json .SBOM}}", &to];
    let sbom = other.bld(sbom).ok();
    assert!(sbom.stdout.contains("\"zlib\"") && !sbom.stdout.contains("musl"), "{sbom}");
    other.assert_nothing_left();
}

#[test]
fn an_index_of_several_platforms_leaves_as_it_came() {
    let registry = Registry::start().unwrap();
    let maker = maker();
    let (image, dir) = (format!("{}/app:1", registry.host()), maker.path("layout"));
    let output = format!("type=oci,tar=false,dest={}", dir.display());
    let asked = ["--platform=linux/amd64,linux/arm64", "-o", &output, "--annotation=index:of=mine"];
    let _ = maker.build(&image, DOCKERFILE, asked).expect_code(0);
    let other = env();
    other.bld(["load", "-i"]).arg(&dir).ok();
    other.bld(["push", "-q", &image]).ok();
    assert_eq!(digest(&image), in_layout(&dir));
    assert_eq!(kept(&other, &image).lines().count(), 1);
    // One of them by itself is no index.
    let id = other.bld(["images", "-q", "--no-trunc", &image]).ok();
    let id = id.stdout.lines().next().unwrap().to_owned();
    let single = format!("{}/single:1", registry.host());
    other.bld(["tag", &id, &single]).ok();
    other.bld(["push", "-q", &single]).ok();
    let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{single}")];
    let raw = Cmd::new("skopeo").args(raw).ok();
    assert!(raw.stdout.contains("\"layers\""), "{raw}");
}

#[test]
fn what_refers_to_an_image_comes_along_on_request() {
    let [near, far] = [Registry::start().unwrap(), Registry::start().unwrap()];
    let maker = maker();
    let from = format!("{}/app:1", near.host());
    let asked = ["--platform=linux/amd64", "--push", "--provenance=mode=max", "--sbom=true"];
    let _ = maker.build(&from, DOCKERFILE, asked).expect_code(0);
    let image = digest(&from);
    let list = |registry: &Registry, name: &str| {
        format!("{}/{name}:{}", registry.host(), image.replace(':', "-"))
    };
    let other = env();
    for (name, flags, goes_along) in
        [("without", &[][..], false), ("with", &["--attestations"][..], true)]
    {
        let to = format!("{}/{name}:1", far.host());
        other.bld(["pull", "-q"]).args(flags).arg(&from).ok();
        other.bld(["tag", &from, &to]).ok();
        other.bld(["push", "-q", &to]).ok();
        assert_eq!(digest(&to), image);
        if goes_along {
            assert_eq!(digest(&list(&far, name)), digest(&list(&near, "app")));
        } else {
            let asked = ["inspect", "--raw", "--tls-verify=false"];
            let there = format!("docker://{}", list(&far, name));
            assert_ne!(Cmd::new("skopeo").args(asked).arg(there).run().code, 0);
        }
    }
    // They are there without the registry, and in an archive.
    drop(near);
    assert_eq!(kept(&other, &from).lines().count(), 3);
    let dir = other.path("saved");
    other.bld(["save", "--format", "oci-dir", &from, "-o"]).arg(&dir).ok();
    let shown = other.bld(["image", "attestations"]).arg(format!("oci-layout://{}", dir.display()));
    assert_eq!(shown.ok().stdout.lines().count(), 3);
    other.assert_nothing_left();
}
