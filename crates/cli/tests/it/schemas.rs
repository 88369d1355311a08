//! Everything that bld writes, against the schemas of the image specification and other readers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bld_testkit::{Cmd, Registry, TestEnv};
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use crate::env;

/// The schemas of the image specification, by the names of their files.
struct Schemas(BTreeMap<&'static str, Validator>);

const NAMES: [&str; 5] = [
    "image-layout-schema",
    "image-index-schema",
    "image-manifest-schema",
    "config-schema",
    "content-descriptor",
];

impl Schemas {
    /// The schemas, which lie beside the workspace. `None` on a machine that does not have them, which
    /// `cargo xtask test` says and CI refuses.
    fn read() -> Option<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let dir = dir.join("../../../shared/corpus/oci/image-spec/schema");
        let Ok(files) = fs::read_dir(&dir) else {
            #[expect(clippy::print_stderr, reason = "a test that tests less says so")]
            {
                eprintln!("not tested against schemas: none at {}", dir.display());
            }
            return None;
        };
        let mut registry = jsonschema::Registry::new().draft(Draft::Draft4);
        for file in files {
            let path = file.unwrap().path();
            let mut schema: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            forget_ids(&mut schema);
            let name = path.file_name().unwrap().to_str().unwrap();
            registry = registry.add(uri(name), schema).unwrap();
        }
        let registry = registry.prepare().unwrap();
        let validator = |name: &'static str| {
            let schema = json!({"$ref": uri(&format!("{name}.json"))});
            let options = jsonschema::options().with_draft(Draft::Draft4);
            let options = options.should_validate_formats(true).with_registry(&registry);
            (name, options.build(&schema).unwrap())
        };
        Some(Self(NAMES.into_iter().map(validator).collect()))
    }

    /// What is wrong with a document.
    fn problems(&self, name: &str, document: &Value) -> Vec<String> {
        let errors = self.0[name].iter_errors(document);
        errors.map(|error| format!("{name}: {}: {error}", error.instance_path())).collect()
    }
}

fn uri(name: &str) -> String {
    format!("https://opencontainers.org/schema/image/{name}")
}

/// They say they are elsewhere than the files that they refer to.
fn forget_ids(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("id").is_some_and(Value::is_string) {
                fields.remove("id");
            }
            fields.values_mut().for_each(forget_ids);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_ids),
        _ => {}
    }
}

/// Checks all documents of a layout; how many there were.
fn check_layout(schemas: &Schemas, layout: &Path, problems: &mut Vec<String>) -> usize {
    let read = |path: &str| -> Value {
        serde_json::from_slice(&fs::read(layout.join(path)).unwrap()).unwrap()
    };
    problems.extend(schemas.problems("image-layout-schema", &read("oci-layout")));
    let mut checked = 1;
    let mut rest = vec![("image-index-schema", read("index.json"))];
    while let Some((schema, document)) = rest.pop() {
        problems.extend(schemas.problems(schema, &document));
        checked += 1;
        let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
        let config = document.get("config").filter(|_| schema == "image-manifest-schema").cloned();
        for descriptor in list("manifests").into_iter().chain(list("layers")).chain(config) {
            problems.extend(schemas.problems("content-descriptor", &descriptor));
            let media_type = descriptor["mediaType"].as_str().unwrap_or_default();
            let schema = match media_type {
                "application/vnd.oci.image.index.v1+json"
                | "application/vnd.docker.distribution.manifest.list.v2+json" => {
                    "image-index-schema"
                }
                "application/vnd.oci.image.manifest.v1+json"
                | "application/vnd.docker.distribution.manifest.v2+json" => "image-manifest-schema",
                "application/vnd.oci.image.config.v1+json"
                | "application/vnd.docker.container.image.v1+json" => "config-schema",
                _ => continue,
            };
            let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
            rest.push((schema, read(&format!("blobs/{digest}"))));
        }
    }
    checked
}

/// An archive as the layout that it holds.
fn unpacked(env: &TestEnv, archive: &Path) -> PathBuf {
    let dir = archive.with_extension("d");
    fs::create_dir_all(&dir).unwrap();
    Cmd::new("tar").arg("-xf").arg(archive).arg("-C").arg(&dir).cwd(env.path("")).ok();
    dir
}

const FULL: &str = r#"FROM busybox
LABEL a=b c.d="e f"
ENV A=1 B="two words" C=
USER daemon:bin
WORKDIR /w
EXPOSE 80 53/udp 100-102
VOLUME ["/v", "/w2"]
STOPSIGNAL SIGUSR1
SHELL ["/bin/sh", "-ec"]
HEALTHCHECK --interval=5s --retries=3 CMD true
ONBUILD RUN true
COPY --chown=1:2 <<EOF /f
x
EOF
USER root
RUN echo b > /g && mkdir -p /d/e
RUN rm /g
ENTRYPOINT ["/bin/sh"]
CMD ["-c", "exit 0"]
"#;

const BARE: &str = "FROM scratch\nCOPY <<EOF /f\nx\nEOF\n";

const NONE: &str = "FROM scratch\nLABEL a=b\n";

/// What is wrong with an image without layers.
const NO_LAYER: &str = "image-manifest-schema: /layers: [] has less than 1 item";

/// Outputs of a build, all of which are archives or directories at `dest`.
const OUTPUTS: [&str; 8] = [
    "type=oci",
    "type=oci,tar=false",
    "type=oci,compression=zstd,oci-mediatypes=true",
    "type=oci,compression=uncompressed",
    "type=oci,annotation.org.opencontainers.image.title=t,annotation-manifest-descriptor.x=y",
    "type=oci,oci-mediatypes=false",
    "type=docker",
    "type=docker,compression=gzip,force-compression=true",
];

#[test]
fn everything_written_is_as_the_schemas_say_and_others_take_it() {
    let Some(schemas) = Schemas::read() else { return };
    let env = env();
    let (mut problems, mut checked) = (Vec::new(), 0);
    for (name, dockerfile) in [("full", FULL), ("bare", BARE), ("none", NONE)] {
        for (n, output) in OUTPUTS.iter().enumerate() {
            let dest = env.path(format!("{name}-{n}.tar"));
            let output = format!("{output},dest={}", dest.display());
            let tag = format!("example.com/{name}:1");
            let _ = env.build(&tag, dockerfile, ["-o", &output]).expect_code(0);
            let layout = if dest.is_dir() { dest.clone() } else { unpacked(&env, &dest) };
            let mut found = Vec::new();
            checked += check_layout(&schemas, &layout, &mut found);
            if name == "none" {
                // The schema wants a layer. BuildKit writes none, either, and everybody takes it.
                assert_eq!(found.pop().as_deref(), Some(NO_LAYER));
            }
            problems.extend(found.into_iter().map(|problem| format!("{output}: {problem}")));
            taken(&dest, &layout, output.starts_with("type=docker"));
        }
    }

    // What is saved, of several images at once, one of them committed from a container.
    let _ = env.build("example.com/full:1", FULL, []).expect_code(0);
    let _ = env.build("bare:1", BARE, []).expect_code(0);
    env.bld(["run", "--name", "changed", "busybox", "touch", "/x"]).ok();
    env.bld(["commit", "-m", "why", "-a", "who", "-c", "CMD [\"x\"]", "changed", "committed:1"])
        .ok();
    let saved = env.path("saved.tar");
    env.bld(["save", "example.com/full:1", "bare:1", "committed:1", "-o"]).arg(&saved).ok();
    checked += check_layout(&schemas, &unpacked(&env, &saved), &mut problems);

    // What is converted.
    for (n, flags) in
        [&["--docker"][..], &["--compression", "zstd"], &["--squash"]].iter().enumerate()
    {
        let (name, dir) =
            (format!("example.com/converted:{n}"), env.path(format!("converted-{n}")));
        env.bld(["image", "convert"]).args(*flags).args(["example.com/full:1", &name]).ok();
        env.bld(["save", "--format", "oci-dir", &name, "-o"]).arg(&dir).ok();
        checked += check_layout(&schemas, &dir, &mut problems);
    }

    // What is pushed, as another tool brings it back.
    let registry = Registry::start().unwrap();
    let name = format!("{}/full:1", registry.host());
    env.bld(["tag", "example.com/full:1", &name]).ok();
    env.bld(["push", &name]).ok();
    let back = env.path("back");
    let to = format!("oci:{}:1", back.display());
    let from = format!("docker://{name}");
    let copy = ["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"];
    Cmd::new("skopeo").args(copy).args(["--preserve-digests", &from, &to]).ok();
    checked += check_layout(&schemas, &back, &mut problems);

    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(checked > 60, "only {checked} documents");
}

/// Copies an image with skopeo, which verifies all of it, and lets umoci look at it.
fn taken(dest: &Path, layout: &Path, is_docker: bool) {
    let copies = layout.with_extension("copy");
    let kind = match (dest.is_dir(), is_docker) {
        (true, _) => "oci",
        (false, true) => "docker-archive",
        (false, false) => "oci-archive",
    };
    let copy = ["copy", "--quiet", "--insecure-policy"];
    let to = format!("dir:{}", copies.display());
    Cmd::new("skopeo").args(copy).args([&format!("{kind}:{}", dest.display()), &to]).ok();
    if fs::read_to_string(layout.join("index.json")).unwrap().contains("vnd.docker.") {
        // Docker's media types are not umoci's.
        return;
    }
    let tags = Cmd::new("umoci").args(["ls", "--layout"]).arg(layout).ok();
    let image = format!("{}:{}", layout.display(), tags.text());
    let stat = Cmd::new("umoci").args(["stat", "--json", "--image", &image]).ok();
    assert!(stat.stdout.contains("\"history\""), "{stat}");
}

/// A document that the specification was published with, and whether it is a wrong one.
#[derive(serde::Deserialize)]
struct Fixture {
    kind: String,
    n: u32,
    expect_fail: bool,
    json: String,
}

/// So the schemas are used as they are meant to be: what has to be refused is, and nothing else.
#[test]
fn the_schemas_tell_right_fixtures_from_wrong_ones() {
    let Some(schemas) = Schemas::read() else { return };
    let file = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = file.join("../../../shared/corpus/oci/image-spec/schema_fixtures.json");
    let fixtures: Vec<Fixture> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let (mut right, mut wrong) = (0, 0);
    for Fixture { kind, n, expect_fail, json } in fixtures {
        let schema = match &*kind {
            "config" => "config-schema",
            "descriptor" => "content-descriptor",
            "imageindex" => "image-index-schema",
            "manifest" => "image-manifest-schema",
            // Docker's, whose media types are others.
            "backwards_compatibility" => continue,
            other => panic!("fixture of unknown kind {other}"),
        };
        let problems = match serde_json::from_str(&json) {
            Ok(document) => schemas.problems(schema, &document),
            Err(error) => vec![error.to_string()],
        };
        if (schema, n) == ("config-schema", 9) {
            // A variable without a value, which the specification's program looks for by itself.
            assert!(json.contains("\"foo\"") && problems.is_empty());
            continue;
        }
        assert_eq!(!problems.is_empty(), expect_fail, "{kind} {n}: {problems:?}");
        *(if expect_fail { &mut wrong } else { &mut right }) += 1;
    }
    assert!(right >= 12 && wrong >= 17, "{right} right ones, {wrong} wrong ones");
}

#[test]
fn the_schemas_refuse_what_is_wrong() {
    let Some(schemas) = Schemas::read() else { return };
    let descriptor = |media_type: &str| json!({"mediaType": media_type, "size": 2, "digest": format!("sha256:{}", "0".repeat(64))});
    let manifest = json!({
        "schemaVersion": 2,
        "config": descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar")],
    });
    assert_eq!(schemas.problems("image-manifest-schema", &manifest), Vec::<String>::new());
    for (pointer, value) in [
        ("/schemaVersion", json!(1)),
        ("/config/digest", json!("sha256")),
        ("/config/mediaType", json!("x")),
        ("/layers/0/size", json!("2")),
        ("/layers", json!([])),
    ] {
        let mut wrong = manifest.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        assert!(!schemas.problems("image-manifest-schema", &wrong).is_empty(), "{pointer}");
    }
}
