//! What images look like on their way out: annotations, times, squashed layers, names.

use std::fs;
use std::path::Path;

use bld_testkit::{Archive, Cmd, Registry, TestEnv};
use serde_json::Value;

use crate::env;

const DOCKERFILE: &str = "FROM busybox
RUN echo one > /one && rm /bin/wget
RUN rm /one && echo two > /two && mkdir /d && ln /two /d/again
COPY file /d/
CMD [\"cat\", \"/two\"]
";

/// The file `index.json` of a layout.
fn index(layout: &Path) -> Value {
    serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap()
}

fn layout(env: &TestEnv, name: &str, options: &str, arguments: &[&str]) -> (Archive, Value) {
    env.write("ctx/file", "file\n");
    let dir = env.path(name);
    let output = format!("type=oci,tar=false,dest={}{options}", dir.display());
    let arguments = ["-o", &output].into_iter().chain(arguments.iter().copied());
    let _ = env.build("f:1", DOCKERFILE, arguments).expect_code(0);
    (Archive::read_layout(&dir).unwrap(), index(&dir))
}

#[test]
fn annotations_are_where_they_belong() {
    let env = env();
    let flags = ["--annotation", "a=1", "--annotation", "manifest-descriptor:c=3"];
    let (image, index) = layout(&env, "layout", ",annotation.B.x=2", &flags);
    assert_eq!(image.manifest["annotations"], serde_json::json!({"a": "1", "B.x": "2"}));
    assert_eq!(index["manifests"][0]["annotations"]["c"], "3");
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1");

    // What is pushed later has them, too, until it is built without.
    let registry = Registry::start().unwrap();
    let name = format!("{}/f:1", registry.host());
    let manifest = |arguments: &[&str]| -> Value {
        let _ = env.build(&name, DOCKERFILE, arguments.iter().copied()).expect_code(0);
        env.bld(["push", &name]).ok();
        let inspect = ["inspect", "--raw", "--tls-verify=false"];
        let raw = Cmd::new("skopeo").args(inspect).arg(format!("docker://{name}")).ok();
        serde_json::from_str(&raw.stdout).unwrap()
    };
    assert_eq!(manifest(&["--annotation", "a=1"])["annotations"]["a"], "1");
    assert_eq!(manifest(&[])["annotations"], Value::Null);

    let failed = env.build("f:1", DOCKERFILE, ["--annotation", "index:a=b"]).expect_code(1);
    let _ = failed.expect_text("index annotations not supported for single platform export");
    let failed = env.build("f:1", DOCKERFILE, ["-o", "type=oci,dst=x"]).expect_code(1);
    let _ = failed.expect_text("dst is not supported for type=oci (did you mean dest?)");
}

#[test]
fn squashed_layers_hold_what_they_did_together() {
    let env = env();
    let (plain, _) = layout(&env, "plain", "", &[]);
    let (squashed, _) = layout(&env, "squashed", "", &["--squash"]);
    assert_eq!((plain.layers.len(), squashed.layers.len()), (4, 2));
    assert_eq!(plain.files, squashed.files);
    // What was made and removed has left no trace; what was removed of the base has.
    let entries = &squashed.layers[1];
    assert!(!entries.iter().any(|name| name.contains("one")), "{entries:?}");
    assert!(entries.iter().any(|name| name.ends_with("bin/.wh.wget")), "{entries:?}");
    let history = squashed.config["history"].as_array().unwrap();
    let made = history.iter().filter(|entry| entry["empty_layer"] != true).count();
    assert_eq!(made, squashed.config["rootfs"]["diff_ids"].as_array().unwrap().len());
    let (again, _) = layout(&env, "again", "", &["--squash"]);
    assert_eq!(again.digest, squashed.digest);

    let _ = env.build("f:2", DOCKERFILE, ["--squash"]).expect_code(0);
    assert_eq!(env.bld(["run", "--rm", "f:2"]).ok().stdout, "two\n");
    let from =
        env.build("f:3", "FROM f:2\nRUN test ! -e /bin/wget && cat /d/again\n", ["--squash"]);
    let _ = from.expect_code(0);

    // What was derived is an ordinary part of the store.
    let _ = env.build("f:4", DOCKERFILE, ["--squash", "--reproducible"]).expect_code(0);
    let sound = env.bld(["system", "check"]).ok();
    let _ = sound.expect_text("sound");
    env.bld(["rmi", "f:2", "f:3", "f:4"]).ok();
    env.bld(["prune", "-af"]).ok();
    let rows = env.bld(["du", "--format", "{{.ID}} {{.Description}}"]).ok().stdout;
    assert!(!rows.contains("echo two"), "{rows}");
    let snapshots = fs::read_dir(env.root().join("snapshots")).unwrap().count();
    assert_eq!(snapshots, 1, "{rows}");
    env.assert_nothing_left();
}

#[test]
fn times_are_fixed_and_rewritten() {
    let env = env();
    let args = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    let (image, _) = layout(&env, "plain", "", &args);
    assert_eq!(image.config["created"], "2001-09-09T01:46:40Z");
    assert!(image.files["/two"].mtime > 1_600_000_000);
    let (image, _) = layout(&env, "rewritten", ",rewrite-timestamp=true", &args);
    assert_eq!(
        (image.files["/two"].mtime, image.files["/d/file"].mtime),
        (1_000_000_000, 1_000_000_000)
    );
    let noted =
        |n: usize| &image.manifest["layers"][n]["annotations"]["buildkit/rewritten-timestamp"];
    assert_eq!((noted(0), noted(1)), (&Value::Null, &"1000000000".into()));

    // The base stays what it is; the image can be run and built upon.
    let (base, _) = layout(&env, "base", "", &["--target", ""]);
    assert_eq!(base.manifest["layers"][0]["digest"], image.manifest["layers"][0]["digest"]);
    let _ = env
        .build(
            "f:1",
            DOCKERFILE,
            args.into_iter().chain(["-o", "type=image,rewrite-timestamp=true"]),
        )
        .expect_code(0);
    assert_eq!(
        env.bld(["run", "--rm", "f:1", "stat", "-c", "%Y", "/two"]).ok().stdout,
        "1000000000\n"
    );

    let note = env.build("f:1", DOCKERFILE, ["-o", "type=image,rewrite-timestamp=true"]);
    let _ = note.expect_code(0).expect_text("changes nothing without SOURCE_DATE_EPOCH");

    let out = env.path("out");
    let flags = ["-o", out.to_str().unwrap()];
    let _ = env.build("f:1", DOCKERFILE, args.into_iter().chain(flags)).expect_code(0);
    let modified = fs::metadata(out.join("two")).unwrap().modified().unwrap();
    assert_eq!(modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), 1_000_000_000);
}

#[test]
fn reproducible_builds_have_no_times_of_their_own() {
    let digest = |early: bool| {
        let env = env();
        if !early {
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
        let (image, _) = layout(&env, "layout", "", &["--reproducible"]);
        assert_eq!(image.config["created"], "1970-01-01T00:00:00Z");
        image.digest
    };
    assert_eq!(digest(true), digest(false));
    let env = env();
    let dockerfile = format!("ARG SOURCE_DATE_EPOCH=77\n{DOCKERFILE}");
    env.write("ctx/file", "file\n");
    let _ = env.build("f:1", &dockerfile, ["--reproducible"]).expect_code(0);
    let created = env.bld(["inspect", "-f", "{{.Created}}", "f:1"]).ok();
    assert_eq!(created.text(), "1970-01-01T00:01:17Z");
}

#[test]
fn local_outputs_are_split_and_cleared() {
    let env = env();
    let out = env.path("out");
    env.write("out/old/file", "");
    env.write("out/two", "");
    env.write("ctx/file", "");
    let delete = format!("type=local,dest={},mode=delete", out.display());
    let failed = env.build("f:1", DOCKERFILE, ["-o", &delete]).expect_code(1);
    let _ = failed.expect_text("--allow=buildx.local.delete");
    assert!(out.join("old").exists());
    let _ = env
        .build("f:1", DOCKERFILE, ["-o", &delete, "--allow", "buildx.local.delete"])
        .expect_code(0);
    assert!(!out.join("old").exists());
    assert_eq!(fs::read_to_string(out.join("two")).unwrap(), "two\n");

    let platform = env.bld(["version", "--format", "{{.Client.Os}}_{{.Client.Arch}}"]).ok();
    let split = format!("type=local,dest={},platform-split=true", env.path("split").display());
    let _ = env.build("f:1", DOCKERFILE, ["-o", &split]).expect_code(0);
    assert!(env.path("split").join(platform.text()).join("two").exists());
    let tar = env.path("split.tar");
    let split = format!("type=tar,dest={},platform-split=true", tar.display());
    let _ = env.build("f:1", DOCKERFILE, ["-o", &split]).expect_code(0);
    let listed = Cmd::new("tar").arg("-tf").arg(&tar).ok().stdout;
    let first = format!("{}/", platform.text());
    assert!(listed.lines().all(|line| line.starts_with(&first)), "{listed}");
    assert!(listed.contains(&format!("{first}d/again\n")), "{listed}");
}

#[test]
fn pushed_by_digest_an_image_has_no_tag() {
    let env = env();
    let registry = Registry::start().unwrap();
    let name = format!("{}/f", registry.host());
    env.write("ctx/file", "");
    let output =
        format!("type=image,name={name},push-by-digest=true,name-canonical=true,push=true");
    let metadata = env.path("metadata.json");
    let arguments = ["-o", &output, "--metadata-file", metadata.to_str().unwrap(), "-f", "-"];
    env.bld(["build"]).args(arguments).arg(env.path("ctx")).stdin(DOCKERFILE).ok();
    let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    let digest = metadata["containerimage.digest"].as_str().unwrap();
    let skopeo = ["inspect", "--raw", "--tls-verify=false"];
    Cmd::new("skopeo").args(skopeo).arg(format!("docker://{name}@{digest}")).ok();
    let tagged = Cmd::new("skopeo").args(skopeo).arg(format!("docker://{name}:latest")).run();
    assert_ne!(tagged.code, 0, "{tagged}");
    let run = env.bld(["run", "--rm", &format!("{name}@{digest}")]).ok();
    assert_eq!(run.stdout, "two\n");

    let output = format!("type=image,name={name}:1,push-by-digest=true,push=true");
    let failed = env.build("f:1", DOCKERFILE, ["-o", &output]).expect_code(1);
    let _ = failed.expect_text("by digest: leave its tag out");

    let other = format!("{name}2:1");
    let output = format!("type=image,name={other},push=true,store=false");
    env.bld(["build", "-o", &output, "-f", "-"])
        .arg(env.path("ctx"))
        .stdin(format!("{DOCKERFILE}LABEL a=b\n"))
        .ok();
    assert!(!env.bld(["images"]).ok().stdout.contains(&format!("{name}2")));
    env.bld(["pull", &other]).ok();
}

/// Layers that can be fetched in parts are ordinary zstd for all who fetch them whole.
#[test]
fn layers_of_zstd_chunked_are_layers_as_any_others() {
    let env = env();
    let registry = Registry::start().unwrap();
    let name = format!("{}/f:chunked", registry.host());
    env.write("ctx/file", "file\n");
    let chunked =
        "type=registry,compression=zstd:chunked,force-compression=true,oci-mediatypes=true";
    let _ = env.build(&name, DOCKERFILE, ["-o", chunked]).expect_code(0);
    let raw = |name: &str| -> Value {
        let inspect = ["inspect", "--raw", "--tls-verify=false"];
        let raw = Cmd::new("skopeo").args(inspect).arg(format!("docker://{name}")).ok();
        serde_json::from_str(&raw.stdout).unwrap()
    };
    let manifest = raw(&name);
    for layer in manifest["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
        for key in ["manifest-checksum", "manifest-position", "tarsplit-position"] {
            let key = format!("io.github.containers.zstd-chunked.{key}");
            assert!(layer["annotations"][&key].is_string(), "{layer}");
        }
    }
    // The image is the same, and so are other stores' blobs.
    let id = env.bld(["build", "-q", "--label=x=y", "-f", "-", "ctx"]);
    id.stdin(DOCKERFILE).ok();
    let other = TestEnv::new(crate::BLD);
    other.bld(["pull", "-q", &name]).ok();
    let ids = [&env, &other].map(|env| {
        let id = env.bld(["images", "--no-trunc", "--format", "{{.ID}}", &name]).ok();
        id.text().to_owned()
    });
    assert_eq!(ids[0], ids[1]);
    assert_eq!(other.bld(["run", "--rm", "--network=none", &name]).ok().stdout, "two\n");
    let again = format!("{}/f:again", registry.host());
    other.bld(["tag", &name, &again]).ok();
    other.bld(["push", "-q", &again]).ok();
    assert_eq!(raw(&again), manifest);
    let converted = format!("{}/f:converted", registry.host());
    env.bld(["image", "convert", "--compression", "zstd:chunked", &name, &converted]).ok();
    env.bld(["push", "-q", &converted]).ok();
    assert_eq!(raw(&converted), manifest);

    // Podman fetches them whole, and in parts where it is told to.
    assert_eq!(crate::podman(&env, &format!("docker://{name}")), "two\n");
    let conf = env.write(
        "storage.conf",
        format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{0}/parts/root\"\nrunroot = \"{0}/parts/run\"\n\
             [storage.options]\npull_options = {{enable_partial_images = \"true\"}}\n",
            env.path("").display()
        ),
    );
    let mut podman = bld_testkit::peer("podman");
    podman.env("CONTAINERS_STORAGE_CONF", &conf);
    podman.args(["--log-level=debug", "run", "--rm", "--network=none", "--tls-verify=false"]);
    podman.args(bld_testkit::PODMAN_LIMITS).arg(format!("docker://{name}"));
    let ran = Cmd::from(podman).ok();
    assert_eq!(ran.stdout, "two\n");
    assert!(ran.stderr.contains("Retrieved partial blob"), "{ran}");
}

/// eStargz: the table leads to every file, and the layers are gzip for all others.
#[test]
fn layers_of_estargz_have_a_table_of_their_files() {
    let env = env();
    let registry = Registry::start().unwrap();
    let name = format!("{}/f:estargz", registry.host());
    env.write("ctx/file", "file\n");
    let output = "type=registry,compression=estargz,force-compression=true,oci-mediatypes=true";
    let _ = env.build(&name, DOCKERFILE, ["-o", output]).expect_code(0);
    let layout = env.path("layout");
    let copy = ["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"];
    let to = format!("oci:{}:f", layout.display());
    Cmd::new("skopeo").args(copy).args([&format!("docker://{name}"), &to]).ok();
    let manifest = index(&layout)["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let manifest = fs::read(layout.join("blobs").join(manifest)).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 4);
    for layer in layers {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
        let digest = layer["digest"].as_str().unwrap().replace(':', "/");
        let blob = fs::read(layout.join("blobs").join(digest)).unwrap();
        let table = estargz_table(&blob);
        let said = &layer["annotations"]["containerd.io/snapshot/stargz/toc.digest"];
        assert_eq!(*said, bld_oci::Digest::of(&table).to_string());
        let table: Value = serde_json::from_slice(&table).unwrap();
        let entries = table["entries"].as_array().unwrap();
        assert_eq!(entries[0]["name"], ".no.prefetch.landmark");
        for entry in entries.iter().filter(|entry| entry["size"].is_u64()) {
            let at = entry["offset"].as_u64().unwrap() as usize;
            let mut file = Vec::new();
            let mut reader = flate2::read::GzDecoder::new(&blob[at..]);
            std::io::Read::read_to_end(&mut reader, &mut file).unwrap();
            assert_eq!(entry["size"], file.len(), "{entry}");
            for key in ["digest", "chunkDigest"] {
                assert_eq!(entry[key], bld_oci::Digest::of(&file).to_string());
            }
        }
    }
    // To all others these are layers of gzip, with two more files.
    assert_eq!(crate::podman(&env, &format!("docker://{name}")), "two\n");
    let bundle = env.path("bundle");
    let unpack = ["unpack", "--image", &format!("{}:f", layout.display())];
    Cmd::new("umoci").args(unpack).arg(&bundle).ok();
    assert!(bundle.join("rootfs/stargz.index.json").exists());
    assert_eq!(fs::read_to_string(bundle.join("rootfs/d/again")).unwrap(), "two\n");
    assert!(!bundle.join("rootfs/one").exists());
    let other = TestEnv::new(crate::BLD);
    other.bld(["pull", "-q", &name]).ok();
    assert_eq!(other.bld(["run", "--rm", "--network=none", &name]).ok().stdout, "two\n");

    // Another store makes the same; what is kept here goes out again as it is.
    let id = |env: &TestEnv, name: &str| -> String {
        let output = "type=image,compression=estargz";
        let built = env.build(name, SAME, ["--reproducible", "-o", output]);
        let _ = built.expect_code(0);
        env.bld(["images", "--no-trunc", "-q", name]).ok().text().to_owned()
    };
    assert_eq!(id(&env, "e:1"), id(&crate::env(), "e:1"));
    let again = format!("{}/f:again", registry.host());
    env.bld(["tag", "e:1", &again]).ok();
    env.bld(["push", "-q", &again]).ok();
    assert_eq!(
        env.bld(["run", "--rm", "--network=none", "e:1", "cat", "/same"]).ok().stdout,
        "same\n"
    );
    let raw = ["inspect", "--raw", "--tls-verify=false"];
    let raw = Cmd::new("skopeo").args(raw).arg(format!("docker://{again}")).ok();
    assert!(raw.stdout.contains("containerd.io/snapshot/stargz/toc.digest"), "{raw}");
    let converted = env.bld(["image", "convert", "--compression=estargz", "e:1", "e:2"]).run();
    let _ = converted.expect_code(1).expect_text("eStargz makes other layers");
}

const SAME: &str = "FROM busybox\nRUN echo same > /same\nRUN echo more >> /more\n";

/// The table of an eStargz blob, found as its specification says.
fn estargz_table(blob: &[u8]) -> Vec<u8> {
    let footer = &blob[blob.len() - 51..];
    assert_eq!(footer[..4], [0x1f, 0x8b, 8, 4]);
    assert_eq!(footer[10..16], [26, 0, b'S', b'G', 22, 0]);
    assert_eq!(&footer[32..38], b"STARGZ");
    let mut empty = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(footer), &mut empty).unwrap();
    assert!(empty.is_empty());
    let at = usize::from_str_radix(std::str::from_utf8(&footer[16..32]).unwrap(), 16).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&blob[at..]));
    let mut entries = archive.entries().unwrap();
    let mut entry = entries.next().unwrap().unwrap();
    assert_eq!(entry.path().unwrap().to_str(), Some("stargz.index.json"));
    let mut table = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut table).unwrap();
    table
}
