//! Images and files in and out: save, load, import, export, convert, and what other tools say of it.

use std::fs;
use std::path::Path;

use bld_testkit::{Archive, Cmd, Registry, TestEnv, WebServer};
use serde_json::Value;

use crate::{env, podman};

const DOCKERFILE: &str = "FROM busybox
RUN echo made > /made
RUN mkdir /d && ln /made /d/again && chown 5:6 /d && rm /bin/wget
CMD [\"cat\", \"/made\"]
";

/// What skopeo says of the image `name`.
fn inspect(name: &str) -> Value {
    let seen = Cmd::new("skopeo").args(["inspect", "--tls-verify=false", name]).ok();
    serde_json::from_str(&seen.stdout).unwrap()
}

/// Every kind of archive, with every compression, is run by podman, copied by skopeo and unpacked by
/// umoci.
#[test]
fn other_tools_take_every_kind_of_archive() {
    let env = env();
    let registry = Registry::start().unwrap();
    for (kind, tar) in [("oci", true), ("oci", false), ("docker", true), ("docker", false)] {
        for compression in ["gzip", "zstd", "uncompressed"] {
            let name = format!("{kind}-{tar}-{compression}");
            let place = env.path(&name);
            let output = format!(
                "type={kind},tar={tar},dest={},compression={compression},force-compression=true",
                place.display()
            );
            let _ = env.build("moved:1", DOCKERFILE, ["-o", &output]).expect_code(0);
            let source = match (kind, tar) {
                ("docker", true) => format!("docker-archive:{}", place.display()),
                ("oci", true) => format!("oci-archive:{}", place.display()),
                _ => format!("oci:{}", place.display()),
            };
            let seen = inspect(&source);
            assert_eq!(seen["Layers"].as_array().unwrap().len(), 3, "{name}");
            let layout = env.path(format!("{name}-layout"));
            let copy = format!("oci:{}:1", layout.display());
            Cmd::new("skopeo").args(["copy", "--quiet", &source, &copy]).ok();
            let bundle = env.path(format!("{name}-bundle"));
            let image = format!("{}:1", layout.display());
            // The umoci of distributions knows no zstd.
            if compression != "zstd" {
                Cmd::new("umoci").args(["unpack", "--image", &image]).arg(&bundle).ok();
                assert_eq!(fs::read_to_string(bundle.join("rootfs/d/again")).unwrap(), "made\n");
                assert!(!bundle.join("rootfs/bin/wget").exists(), "{name}");
            }
            if tar {
                assert_eq!(podman(&env, &source), "made\n", "{name}");
            } else {
                // Podman takes a directory's path for a name, which must not have capitals.
                let pushed = format!("{}/moved/{name}:1", registry.host());
                let options = ["copy", "--quiet", "--dest-tls-verify=false", &source];
                Cmd::new("skopeo").args(options).arg(format!("docker://{pushed}")).ok();
                assert_eq!(podman(&env, &format!("docker://{pushed}")), "made\n", "{name}");
            }
            let there = TestEnv::new(crate::BLD);
            let loaded = there.bld(["load", "-i"]).arg(&place).ok();
            assert_eq!(loaded.stdout, "Loaded image: moved:1\n", "{name}");
            assert_eq!(there.bld(["run", "--rm", "moved:1"]).ok().stdout, "made\n", "{name}");
        }
    }
}

#[test]
fn images_are_saved_in_all_formats() {
    let env = env();
    let _ = env.build("a:1", DOCKERFILE, []).expect_code(0);
    let _ = env.build("b:2", "FROM a:1\nLABEL x=y\n", []).expect_code(0);
    env.bld(["tag", "a:1", "a:second"]).ok();
    let id = env.bld(["images", "-q", "--no-trunc", "b:2"]).ok().text().to_owned();
    let mut digests = Vec::new();
    for format in ["docker-archive", "oci-archive", "oci-dir"] {
        let place = env.path(format);
        env.bld(["save", "--format", format, "-o"])
            .arg(&place)
            .args(["a:1", "a:second", "a:1", &id])
            .ok();
        let there = TestEnv::new(crate::BLD);
        let loaded = there.bld(["load", "-q", "-i"]).arg(&place).ok().stdout;
        let expected =
            format!("Loaded image: a:1\nLoaded image: a:second\nLoaded image ID: {id}\n");
        assert_eq!(loaded, expected, "{format}");
        assert_eq!(there.bld(["run", "--rm", "a:second"]).ok().stdout, "made\n");
        let saved = there.bld(["save", "--format", format, "a:1"]).run();
        assert_eq!(saved.code != 0, format == "oci-dir", "{format}");
        if format != "oci-dir" {
            let place = env.path("again");
            there.bld(["save", "--format", format, "-o"]).arg(&place).arg("a:1").ok();
            digests.push(Archive::read(&place).unwrap().digest);
        }
    }
    env.bld(["save", "-o", "/dev/null", "a:1"]).ok();
    let failed = env.bld(["save", "-o", "/nosuch/x", "a:1"]).run().expect_code(1);
    let _ = failed.expect_text("/nosuch/x");
    // What was loaded goes out as it came.
    assert_eq!(digests[0], digests[1]);
    let oci = Cmd::new("tar").arg("-tf").arg(env.path("oci-archive")).ok().stdout;
    assert!(!oci.contains("manifest.json"), "{oci}");
    let failed = env.bld(["save", "--platform", "linux/s390x", "a:1"]).run().expect_code(1);
    let _ = failed.expect_text("not for linux/s390x");
    let failed = env.bld(["save", "-o", "x.tar", "a:1", "nosuch:1"]).run().expect_code(1);
    let _ = failed.expect_text("No such image: nosuch:1");
    assert!(!env.path("x.tar").exists());
}

#[test]
fn archives_for_several_platforms_are_loaded() {
    let env = env();
    let mut manifests = Vec::new();
    let all = env.path("all");
    for platform in ["linux/amd64", "linux/arm64"] {
        let dockerfile = format!("FROM scratch\nCOPY f /f\nLABEL p={platform}\n");
        env.write("ctx/f", platform);
        let output = format!("type=oci,tar=false,dest={}", all.display());
        let arguments = ["--platform", platform, "-o", &output];
        let _ = env.build("p:1", &dockerfile, arguments).expect_code(0);
        let index: Value =
            serde_json::from_slice(&fs::read(all.join("index.json")).unwrap()).unwrap();
        let mut entry = index["manifests"][0].clone();
        let (os, architecture) = platform.split_once('/').unwrap();
        entry["platform"] = serde_json::json!({"os": os, "architecture": architecture});
        manifests.push(entry);
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": manifests});
    fs::write(all.join("index.json"), index.to_string()).unwrap();
    let tar = env.path("all.tar.gz");
    Cmd::new("tar").arg("-czf").arg(&tar).arg("-C").arg(&all).arg(".").ok();
    let load = |arguments: &[&str], from: &Path| {
        let there = TestEnv::new(crate::BLD);
        let output = there.bld(["load", "-i"]).arg(from).args(arguments).run();
        let seen = there.bld(["inspect", "-f", "{{.Config.Labels.p}}", "p:1"]).run();
        (output, seen.text().to_owned())
    };
    for from in [&all, &tar] {
        let (_, label) = load(&["--platform", "linux/arm64"], from);
        assert_eq!(label, "linux/arm64");
        let (failed, _) = load(&["--platform", "linux/s390x"], from);
        let _ = failed.expect_code(1).expect_text("linux/s390x");
    }
    let failed = env.bld(["load"]).stdin("junk").run().expect_code(1);
    let _ = failed.expect_text("load the archive");
}

/// The words that docker has for it, of which scripts look for some.
#[test]
fn what_is_told_of_transfers_is_dockers() {
    let (env, registry) = (env(), Registry::start().unwrap());
    let repository = format!("{}/team/app", registry.host());
    let [one, two] = ["1", "2"].map(|tag| format!("{repository}:{tag}"));
    let _ = env.build(&one, DOCKERFILE, []).expect_code(0);
    let _ = env.build(&two, "FROM busybox\nLABEL two=2\n", []).expect_code(0);
    let count = |text: &str, word: &str| text.lines().filter(|line| line.ends_with(word)).count();

    let first = env.bld(["push", &one]).ok().stdout;
    assert!(
        first.starts_with(&format!("The push refers to repository [{repository}]\n")),
        "{first}"
    );
    assert_eq!([": Preparing", ": Pushed"].map(|word| count(&first, word)), [3, 3], "{first}");
    let again = env.bld(["push", &one]).ok().stdout;
    assert_eq!(count(&again, ": Layer already exists"), 3, "{again}");
    assert_eq!(count(&again, ": Pushed"), 0, "{again}");
    env.bld(["push", "-a", "-q", &repository]).ok();

    let there = TestEnv::new(crate::BLD);
    let pulled = there.bld(["pull", &one]).ok().stdout;
    assert!(pulled.starts_with("1: Pulling from team/app\n"), "{pulled}");
    let words =
        [": Pulling fs layer", ": Download complete", ": Pull complete", ": Already exists"];
    assert_eq!(words.map(|word| count(&pulled, word)), [3, 3, 3, 0], "{pulled}");
    let end = format!("Status: Downloaded newer image for {one}\n{one}\n");
    assert!(pulled.ends_with(&end), "{pulled}");
    let digest = pulled.lines().find(|line| line.starts_with("Digest: ")).unwrap();
    let again = there.bld(["pull", &one]).ok().stdout;
    let nothing = "Status: Image is up to date for";
    assert_eq!(again, format!("1: Pulling from team/app\n{digest}\n{nothing} {one}\n{one}\n"));

    // Of all tags, the second has nothing but what is there.
    let all = there.bld(["pull", "-a", &repository]).ok().stdout;
    let part = format!("1: Pulling from team/app\n{digest}\n");
    assert!(all.contains(&part) && all.contains("2: Pulling from team/app\n"), "{all}");
    assert_eq!(words.map(|word| count(&all, word)), [0, 0, 0, 1], "{all}");
    let end = format!("Status: Downloaded newer image for {repository}\n{repository}\n");
    assert!(all.ends_with(&end), "{all}");
    let quiet = there.bld(["pull", "-a", "-q", &repository]).ok().stdout;
    assert_eq!(quiet, format!("{repository}\n"));
}

#[test]
fn files_are_imported() {
    let env = env();
    let tree = env.path("tree");
    fs::create_dir_all(tree.join("bin")).unwrap();
    fs::copy("/bin/busybox", tree.join("bin/sh")).unwrap();
    env.write("tree/hello", "hello\n");
    let tar = env.path("tree.tar");
    Cmd::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&tree).arg(".").ok();
    let changes =
        ["-c", "CMD [\"sh\", \"-c\", \"read x < /hello && echo $x $E\"]", "--change", "ENV E=env"];
    let imported = env.bld(["import", "-m", "from a test"]).args(changes).arg(&tar).arg("i:1").ok();
    assert!(imported.text().starts_with("sha256:"), "{imported}");
    assert_eq!(env.bld(["run", "--rm", "i:1"]).ok().stdout, "hello env\n");
    let history = env.bld(["history", "--format", "{{.Comment}}", "i:1"]).ok();
    assert_eq!(history.text(), "from a test");

    // From standard input and from a server, compressed, for another platform; with a fixed time the
    // id is fixed.
    let import = |from: &str, input: Vec<u8>| {
        let command = env.bld(["import", "-m", "m", "--platform", "linux/arm64", from, "i:2"]);
        command.env("SOURCE_DATE_EPOCH", "1000000000").stdin(input).ok().text().to_owned()
    };
    let id = import("-", fs::read(&tar).unwrap());
    for (compress, suffix) in [("gzip", "gz"), ("zstd", "zst"), ("xz", "xz"), ("bzip2", "bz2")] {
        Cmd::new(compress).arg("-k").arg(&tar).ok();
        let compressed = fs::read(env.path(format!("tree.tar.{suffix}"))).unwrap();
        assert_eq!(import("-", compressed), id, "{compress}");
    }
    let server = WebServer::start(&env.path("")).unwrap();
    assert_eq!(import(&format!("{}/tree.tar.gz", server.url()), Vec::new()), id);
    let missing = format!("{}/nosuch.tar", server.url());
    let _ = env.bld(["import", &missing]).run().expect_code(1).expect_text("404");
    let seen = env.bld(["inspect", "-f", "{{.Architecture}} {{.Created}}", "i:2"]).ok();
    assert_eq!(seen.text(), "arm64 2001-09-09T01:46:40Z");

    for (arguments, input, says) in [
        (&["import", "-"][..], "no tar", "no tar archive"),
        (&["import", "nosuch.tar"], "", "nosuch.tar: No such file"),
        (&["import", "-c", "RUN x", "-"], "", "RUN is not a valid change command"),
        (&["import", "-", "UPPER"], "", "invalid reference format"),
    ] {
        let failed = env.bld(arguments).stdin(input).run().expect_code(1);
        let _ = failed.expect_text(says);
    }
}

#[test]
fn containers_are_exported() {
    let env = env();
    let _ = env.build("e:1", DOCKERFILE, []).expect_code(0);
    env.bld([
        "run",
        "--name",
        "ctr",
        "-v",
        "vol:/vol",
        "e:1",
        "sh",
        "-c",
        "echo new > /new; rm /made; echo > /vol/hidden",
    ])
    .ok();
    env.bld(["export", "-o", "c.tar", "ctr"]).ok();
    let listed = Cmd::new("tar").arg("-tf").arg(env.path("c.tar")).ok().stdout;
    let has = |name: &str| listed.lines().any(|line| line == name);
    assert!(has("new") && has("d/again"), "{listed}");
    assert!(!has("made") && !has("bin/wget") && !has("vol/hidden"), "{listed}");
    env.bld(["import", "c.tar", "back:1"]).ok();
    assert_eq!(
        env.bld(["run", "--rm", "back:1", "cat", "/new", "/d/again"]).ok().stdout,
        "new\nmade\n"
    );
    env.bld(["container", "export", "--output", "d.tar", "ctr"]).ok();
    assert_eq!(fs::read(env.path("d.tar")).unwrap(), fs::read(env.path("c.tar")).unwrap());
    let failed = env.bld(["export", "nosuch"]).run().expect_code(1);
    let _ = failed.expect_text("No such container: nosuch");
}

#[test]
fn images_are_converted() {
    let env = env();
    let registry = Registry::start().unwrap();
    let _ = env.build("v:1", DOCKERFILE, []).expect_code(0);
    let name = format!("{}/v:1", registry.host());
    let raw = |arguments: &[&str]| -> Value {
        env.bld(["image", "convert"]).args(arguments).args(["v:1", &name]).ok();
        env.bld(["push", &name]).ok();
        let command = ["inspect", "--raw", "--tls-verify=false"];
        let raw = Cmd::new("skopeo").args(command).arg(format!("docker://{name}")).ok();
        assert_eq!(podman(&env, &format!("docker://{name}")), "made\n");
        serde_json::from_str(&raw.stdout).unwrap()
    };
    let kinds = |manifest: &Value| -> Vec<String> {
        let layers = manifest["layers"].as_array().unwrap().iter();
        layers.map(|layer| layer["mediaType"].as_str().unwrap().to_owned()).collect()
    };
    let zstd = raw(&["--compression", "zstd", "--compression-level", "9"]);
    assert_eq!(kinds(&zstd), ["application/vnd.oci.image.layer.v1.tar+zstd"; 3]);
    let docker = raw(&["--docker"]);
    assert_eq!(docker["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(kinds(&docker), ["application/vnd.docker.image.rootfs.diff.tar.gzip"; 3]);
    let plain = raw(&["--compression", "uncompressed"]);
    assert_eq!(kinds(&plain), ["application/vnd.oci.image.layer.v1.tar"; 3]);
    let squashed = raw(&["--squash"]);
    assert_eq!(kinds(&squashed).len(), 1);
    assert_eq!(squashed["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    let failed = env.bld(["image", "convert", "--docker", "--compression", "zstd", "v:1", "w:1"]);
    let _ = failed.run().expect_code(1).expect_text("no media type for zstd");
}
