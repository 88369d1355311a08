//! `imagetools`: looking at images in registries, and making new ones of them there.

use std::fs;

use bld_testkit::{Cmd, Registry, TestEnv};
use serde_json::{Value, json};

use crate::env;

/// The bytes of what `image` names.
fn raw(image: &str) -> String {
    let raw = ["inspect", "--raw", "--tls-verify=false"];
    Cmd::new("skopeo").args(raw).arg(format!("docker://{image}")).ok().stdout
}

/// The digest that `image` has.
fn digest(image: &str) -> String {
    bld_oci::Digest::of(raw(image).as_bytes()).to_string()
}

/// Pushes an image for one platform whose only layer holds `text`.
fn push(env: &TestEnv, image: &str, platform: &str, text: &str) {
    env.write("ctx/text", text);
    let pushed = ["--platform", platform, "--push"];
    let _ = env.build(image, "FROM scratch\nCOPY text /\n", pushed).expect_code(0);
}

#[test]
fn images_of_several_platforms_are_made_one() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let name = |rest: &str| format!("{}/{rest}", registry.host());
    let [amd, arm, app] = [name("team/app:amd"), name("team/arm:1"), name("shop/app:1")];
    push(&env, &amd, "linux/amd64", "amd");
    push(&env, &arm, "linux/arm64", "arm");

    let create = ["imagetools", "create", "--annotation", "index:org.example.a=b"];
    let dry = env.bld(create).args(["--dry-run", &amd, &arm]).ok();
    let tagged = ["-t", app.as_str(), "-t", &name("shop/app:2"), "--metadata-file", "m.json"];
    let made = env.bld(["buildx", "imagetools", "create"]).args(&create[2..]).args(tagged);
    let made = made.args([&amd, &arm]).ok();
    assert!(made.stderr.contains(&format!("[internal] pushing {}", name("shop/app"))), "{made}");
    assert_eq!(dry.stdout, format!("{}\n", raw(&app)), "what is shown is what is pushed");
    let expected = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&amd),
              "size": raw(&amd).len(), "platform": { "architecture": "amd64", "os": "linux" } },
            { "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&arm),
              "size": raw(&arm).len(), "platform": { "architecture": "arm64", "os": "linux" } },
        ],
        "annotations": { "org.example.a": "b" },
    });
    assert_eq!(serde_json::from_str::<Value>(&raw(&app)).unwrap(), expected);
    // Go's writers keep the order of fields, and so the digest is theirs.
    let begin = "{\n  \"schemaVersion\": 2,\n  \"mediaType\": \"application/vnd.oci.image.index.v1+json\",\n  \
                 \"manifests\": [\n    {\n      \"mediaType\"";
    assert!(raw(&app).starts_with(begin), "{}", raw(&app));
    let metadata: Value = serde_json::from_slice(&fs::read(env.path("m.json")).unwrap()).unwrap();
    assert_eq!(metadata["containerimage.descriptor"]["digest"], digest(&app).as_str());
    assert_eq!(metadata["image.name"], name("shop/app").as_str());
    let platforms = ["linux/amd64", "linux/arm64"];
    for (platform, text) in platforms.into_iter().zip(["amd", "arm"]) {
        let other = TestEnv::new(crate::BLD);
        other.bld(["pull", "-q", "--platform", platform, &name("shop/app:2")]).ok();
        let out = format!("type=local,dest={text}");
        let dockerfile = format!("FROM {}\n", name("shop/app:2"));
        let _ = other.build("x", &dockerfile, ["--platform", platform, "-o", &out]).expect_code(0);
        assert_eq!(fs::read_to_string(other.path(text).join("text")).unwrap(), text);
    }

    // One that is there already stays as it is, is filtered, or gets more.
    env.bld(["imagetools", "create", "-t", &name("copy:1"), &app]).ok();
    assert_eq!(raw(&name("copy:1")), raw(&app));
    let filter = ["imagetools", "create", "--platform", "linux/arm64", "-t"];
    env.bld(filter).args([&name("copy:arm"), &app]).ok();
    let filtered: Value = serde_json::from_str(&raw(&name("copy:arm"))).unwrap();
    assert_eq!(filtered["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(filtered["manifests"][0]["digest"], digest(&arm).as_str());
    assert_eq!(filtered["annotations"]["org.example.a"], "b");
    let none = env.bld(filter).args([&name("copy:no"), "--platform", "linux/s390x", &amd]).run();
    let _ = none.expect_code(1).expect_text("match");
    push(&env, &name("team/riscv:1"), "linux/riscv64", "riscv");
    let append = ["imagetools", "create", "--append", "-t", &app, &name("team/riscv:1")];
    env.bld(append).ok();
    let more: Value = serde_json::from_str(&raw(&app)).unwrap();
    assert_eq!(more["manifests"].as_array().unwrap().len(), 3);

    // A single image becomes an index, or a copy.
    env.bld(["imagetools", "create", "-t", &name("one:index"), &amd]).ok();
    let one: Value = serde_json::from_str(&raw(&name("one:index"))).unwrap();
    assert_eq!(one["manifests"][0]["digest"], digest(&amd).as_str());
    env.bld(["imagetools", "create", "--prefer-index=false", "-t", &name("one:copy"), &amd]).ok();
    assert_eq!(raw(&name("one:copy")), raw(&amd));

    // Descriptors in files say more, or something else.
    let descriptor = json!({
        "digest": digest(&amd),
        "annotations": { "k": "v" },
        "platform": { "os": "linux", "architecture": "amd64", "os.version": "10.1", "variant": "v3" },
    });
    env.write("descriptor.json", descriptor.to_string());
    let source = ["imagetools", "create", "--dry-run", "-f", "descriptor.json", "-t"];
    let shown = env.bld(source).arg(name("team/app:2")).ok();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["manifests"][0]["platform"], descriptor["platform"]);
    assert_eq!(shown["manifests"][0]["annotations"], descriptor["annotations"]);
    assert_eq!(shown["manifests"][0]["size"], raw(&amd).len());
}

#[test]
fn what_cannot_be_made_is_said() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let name = |rest: &str| format!("{}/{rest}", registry.host());
    let app = name("app:1");
    push(&env, &app, "linux/amd64", "x");
    let fails = |arguments: &[&str], text: &str| {
        let failed = env.bld(["imagetools", "create"]).args(arguments).run();
        let _ = failed.expect_code(1).expect_text(text);
    };
    fails(&[], "no sources specified");
    fails(&[&app], "can't push with no tags specified, please set --tag or --dry-run");
    fails(&["--dry-run", "sha256:ab"], "valid sources are digests, references and descriptors");
    let unknown = format!("sha256:{:064}", 0);
    fails(&["--dry-run", &unknown], "no repositories specified");
    fails(
        &["--dry-run", &unknown, &app, &name("b:1")],
        "multiple repositories specified, cannot infer repository for",
    );
    fails(&["--dry-run", &unknown, &app], "does not exist");
    fails(
        &["--dry-run", "--annotation", "k=v", &app],
        "\"manifest\" annotations are not supported",
    );
    fails(
        &["--dry-run", "--platform", "linux/arm64", "--prefer-index=false", &app],
        "input platform linux/amd64 does not match any of the provided platforms",
    );
    env.write("manifest.json", raw(&app));
    fails(&["--dry-run", "-f", "manifest.json", "-t", &app], "got a manifest or index");
}

#[test]
fn what_registries_have_is_shown() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let name = |rest: &str| format!("{}/{rest}", registry.host());
    let (amd, app) = (name("app:amd"), name("app:1"));
    env.write("ctx/text", "x");
    let dockerfile = "FROM scratch\nCOPY text /\nLABEL A=b\n";
    let said = ["--push", "--provenance=mode=max", "--sbom=true"];
    let _ = env.build(&amd, dockerfile, said).expect_code(0);
    push(&env, &name("app:arm"), "linux/arm64/v8", "y");
    let create = ["imagetools", "create", "--annotation", "manifest-descriptor[linux/arm64]:a.b=c"];
    env.bld(create).args(["-t", &app, &amd, &name("app:arm")]).ok();
    let inspect =
        |arguments: &[&str]| env.bld(["imagetools", "inspect"]).args(arguments).ok().stdout;

    assert_eq!(inspect(&["--raw", &app]), raw(&app));
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let listing = format!(
        "Name:      {app}
MediaType: application/vnd.oci.image.index.v1+json
Digest:    {}
{:11}
Manifests:\u{20}
  Name:        {app}@{}
  MediaType:   {manifest}
  Platform:    linux/amd64
{:15}
  Name:        {app}@{}
  MediaType:   {manifest}
  Platform:    linux/arm64
  Annotations:\u{20}
    a.b: c
",
        digest(&app),
        "",
        digest(&amd),
        "",
        digest(&name("app:arm"))
    );
    assert_eq!(inspect(&[&app]), listing);
    assert_eq!(inspect(&[&app, "--format", "{{ .Manifest }}"]), listing);
    let own = format!("Name:      {amd}\nMediaType: {manifest}\nDigest:    {}\n", digest(&amd));
    assert_eq!(inspect(&[&amd]), own);

    let template = "{{.Name}} {{.Manifest.Digest}} {{(index .Image \"linux/amd64\").Config.Labels.A}} \
                    {{range .Manifest.Manifests}}{{.Platform.Architecture}} {{end}}";
    assert_eq!(
        inspect(&[&app, "--format", template]),
        format!("{app} {} b amd64 arm64 ", digest(&app))
    );
    let shown: Value =
        serde_json::from_str(&inspect(&[&app, "--format", "{{json .Manifest}}"])).unwrap();
    assert_eq!(shown["digest"], digest(&app).as_str());
    assert_eq!(shown["size"], raw(&app).len());
    assert_eq!(shown["manifests"].as_array().unwrap().len(), 2);
    let all: Value = serde_json::from_str(&inspect(&[&amd, "--format", "{{json .}}"])).unwrap();
    assert_eq!(all["name"], amd.as_str());
    assert_eq!(all["manifest"]["mediaType"], manifest);
    assert_eq!(all["image"]["config"]["Labels"]["A"], "b");
    let shown = inspect(&[&amd, "--format", "{{.Image.Architecture}} {{.Image.RootFS.DiffIDs}}"]);
    assert!(shown.starts_with("amd64 [sha256:"), "{shown}");

    // What is said about an image, for one and for several platforms, went along with it.
    let shown = inspect(&[&amd, "--format", "{{json .Provenance.SLSA}}"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        shown["buildDefinition"]["externalParameters"]["request"]["frontend"],
        "dockerfile.v0"
    );
    let shown = inspect(&[&amd, "--format", "{{.SBOM.SPDX.spdxVersion}}"]);
    assert_eq!(shown, "SPDX-2.3");
    let template = "{{range $platform, $said := .SBOM}}{{$platform}} {{$said.SPDX.SPDXID}}{{end}}";
    assert_eq!(inspect(&[&app, "--format", template]), "linux/amd64 SPDXRef-DOCUMENT");
    let both = env.bld(["imagetools", "inspect", "--raw", "--format", "x", &app]).run();
    let _ = both.expect_code(1).expect_text("format and raw cannot be used together");
    let gone = env.bld(["imagetools", "inspect", &name("app:gone")]).run();
    let _ = gone.expect_code(1).expect_text("does not exist");
}

#[test]
fn images_go_from_one_registry_to_another() {
    let (env, near, far) = (env(), Registry::start().unwrap(), Registry::start().unwrap());
    let from = format!("{}/app:1", near.host());
    let to = format!("{}/mirror/app:1", far.host());
    env.write("ctx/text", "x");
    let both = ["--platform", "linux/amd64,linux/arm64", "--push"];
    let _ = env.build(&from, "FROM scratch\nCOPY text /\n", both).expect_code(0);
    env.bld(["imagetools", "create", "-t", &to, &from]).ok();
    assert_eq!(raw(&to), raw(&from));
    drop(near);
    let other = TestEnv::new(crate::BLD);
    other.bld(["pull", "-q", "--platform", "linux/arm64", &to]).ok();
    let copied = Cmd::new("skopeo")
        .args(["copy", "-q", "--all", "--src-tls-verify=false"])
        .arg(format!("docker://{to}"))
        .arg(format!("oci:{}", env.path("copied").display()));
    copied.ok();
}

#[test]
fn images_of_directories_go_to_registries() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let name = |rest: &str| format!("{}/{rest}", registry.host());
    env.write("ctx/text", "text");
    let dockerfile = "FROM scratch\nCOPY text /\n";
    let layouts =
        [("one", "linux/amd64"), ("two", "linux/arm64"), ("both", "linux/amd64,linux/s390x")];
    for (dir, platform) in layouts {
        let output = format!("--output=type=oci,tar=false,dest={}", env.path(dir).display());
        let platform = format!("--platform={platform}");
        let _ = env.build("team/app:v1", dockerfile, [output.as_str(), &platform]).expect_code(0);
    }
    let of = |layout: &str| format!("oci-layout://{layout}");
    let create = |tag: &str, sources: &[String]| {
        env.bld(["imagetools", "create", "-t", tag]).args(sources).run()
    };
    // One is copied as it is, several are made one, and they mix with what registries have.
    let mirrored = name("team/mirrored:1");
    let _ = create(&mirrored, &[of("both:v1")]).expect_code(0);
    let index: Value =
        serde_json::from_slice(&fs::read(env.path("both/index.json")).unwrap()).unwrap();
    assert_eq!(digest(&mirrored), index["manifests"][0]["digest"].as_str().unwrap());
    let joined = name("shop/joined:1");
    let _ = create(&joined, &[of("./one"), of("two:v1"), mirrored.clone()]).expect_code(0);
    let made: Value = serde_json::from_str(&raw(&joined)).unwrap();
    let platforms = made["manifests"].as_array().unwrap().iter();
    let platforms: Vec<_> =
        platforms.map(|entry| entry["platform"]["architecture"].as_str().unwrap()).collect();
    assert_eq!(platforms, ["amd64", "arm64", "s390x"]);
    for platform in ["linux/amd64", "linux/arm64", "linux/s390x"] {
        let store = env.path(platform.replace('/', "-"));
        env.bld(["pull", "-q", "--platform", platform, &joined]).env("BLD_ROOT", store).ok();
    }
    let inspect = |arguments: &[&str]| env.bld(["imagetools", "inspect"]).args(arguments).run();
    let shown = inspect(&[&of("both")]).expect_code(0).stdout;
    assert!(shown.starts_with("Name:      oci-layout://both\n"), "{shown}");
    assert!(shown.contains("  Platform:  linux/s390x\n"), "{shown}");
    let whole = inspect(&["--raw", &of("both:v1")]).expect_code(0).stdout;
    assert_eq!(whole, raw(&mirrored));
    let format = "{{(index .Image \"linux/s390x\").architecture}}";
    let format = inspect(&["--format", format, &of("both")]).expect_code(0).stdout;
    assert_eq!(format.trim(), "s390x");

    let wrong = create(&mirrored, &[of("both:v2")]).expect_code(1);
    let _ = wrong.expect_text("oci-layout://both:v2: there is no image v2");
    let _ = inspect(&[&of("nowhere")]).expect_code(1).expect_text("nowhere/index.json");
    let blob = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "");
    let blob = env.path(format!("both/blobs/sha256/{blob}"));
    fs::write(&blob, fs::read_to_string(&blob).unwrap() + " ").unwrap();
    let _ = inspect(&[&of("both")]).expect_code(1).expect_text("hashes to sha256:");
}
