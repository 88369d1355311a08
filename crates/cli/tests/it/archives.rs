//! Every kind of archive that is written, and other tools that run what is in it.

use std::fs;
use std::path::PathBuf;

use bld_testkit::{Cmd, Registry, TestEnv};

use crate::{env, podman, podman_command};

const SHOUT: &str = "FROM busybox\nRUN mkdir /d && echo hello >/d/f && ln /d/f /d/g && rm /bin/wget\n\
                     CMD [\"sh\", \"-c\", \"cat /d/g && test ! -e /bin/wget && echo gone\"]\n";

/// Builds with an output; the reference that podman takes.
fn built(env: &TestEnv, kind: &str, options: &str) -> String {
    let file = env.path(format!("{kind}{}.tar", options.replace([',', '=', ':'], "-")));
    let output = format!("type={kind},dest={}{options}", file.display());
    let _ = env.build("shout:1", SHOUT, ["--network=none", "-o", &output]).expect_code(0);
    format!("{kind}-archive:{}", file.display())
}

/// Archives of all kinds, by the references that podman takes.
fn archives(env: &TestEnv) -> Vec<String> {
    const OPTIONS: [&str; 8] = [
        "",
        ",compression=zstd,force-compression=true",
        ",compression=zstd:chunked,force-compression=true",
        ",compression=estargz,force-compression=true",
        ",compression=uncompressed,force-compression=true",
        ",oci-mediatypes=false",
        ",rewrite-timestamp=true,source-date-epoch=1000",
        ",compression-level=9,annotation.a=b",
    ];
    let mut all = Vec::new();
    for kind in ["oci", "docker"] {
        all.extend(OPTIONS.iter().map(|options| built(env, kind, options)));
    }
    let _ = env.build("shout:1", SHOUT, ["--network=none"]).expect_code(0);
    let _ = env.build("shout:flat", SHOUT, ["--network=none", "--squash"]).expect_code(0);
    let platforms = ["--network=none", "--platform=linux/amd64,linux/arm64"];
    let other = "FROM scratch AS arm64\nCOPY f /f\nFROM busybox AS amd64\nFROM ${TARGETARCH}\n\
                 CMD [\"sh\", \"-c\", \"echo hello && echo gone\"]\n";
    let other = format!("ARG TARGETARCH\n{other}");
    env.write("ctx/f", "f");
    let several = env.path("several.tar");
    let output = format!("--output=type=oci,dest={}", several.display());
    let arguments = platforms.iter().copied().chain([output.as_str()]);
    let _ = env.build("shout:all", &other, arguments).expect_code(0);
    all.push(format!("oci-archive:{}", several.display()));
    for (name, form) in [("shout:1", "docker-archive"), ("shout:flat", "oci-archive")] {
        let file = env.path(format!("saved-{form}.tar"));
        env.bld(["save", "--format", form, "-o"]).arg(&file).arg(name).ok();
        all.push(format!("{form}:{}", file.display()));
    }
    let file = env.path("saved.tar");
    env.bld(["save", "-o"]).arg(&file).arg("shout:1").ok();
    all.push(format!("docker-archive:{}", file.display()));
    for options in ["zstd", "zstd:chunked", "uncompressed"] {
        let to = format!("shout:{}", options.replace(':', "-"));
        env.bld(["image", "convert", "--compression", options, "shout:1", &to]).ok();
        for form in ["docker-archive", "oci-archive"] {
            let file = env.path(format!("{}-{form}.tar", options.replace(':', "-")));
            env.bld(["save", "--format", form, "-o"]).arg(&file).arg(&to).ok();
            all.push(format!("{form}:{}", file.display()));
        }
    }
    all
}

/// Archives of files alone, which others make an image of.
fn file_systems(env: &TestEnv) -> [PathBuf; 2] {
    let (built, exported) = (env.path("files.tar"), env.path("exported.tar"));
    let output = format!("type=tar,dest={}", built.display());
    let _ = env.build("shout:1", SHOUT, ["--network=none", "-o", &output]).expect_code(0);
    env.bld(["create", "--name", "shouter", "shout:1"]).ok();
    env.bld(["export", "-o"]).arg(&exported).arg("shouter").ok();
    env.bld(["rm", "shouter"]).ok();
    [built, exported]
}

#[test]
fn podman_runs_every_kind_of_archive() {
    let env = env();
    for archive in archives(&env) {
        assert_eq!(podman(&env, &archive), "hello\ngone\n", "{archive}");
    }
    for (n, archive) in file_systems(&env).iter().enumerate() {
        let name = format!("files:{n}");
        let change = "CMD [\"cat\", \"/d/g\"]";
        let import = ["import", "-q", "-c", change, &archive.display().to_string(), &name];
        let mut command = podman_command(&env);
        command.args(import);
        Cmd::from(command).ok();
        assert_eq!(podman(&env, &name), "hello\n", "{}", archive.display());
    }
    // Podman takes a path for a name, which must not have capitals.
    let name = format!("bld-layouts-{}", std::process::id());
    let place = tempfile::Builder::new().prefix(&name).rand_bytes(0).tempdir().unwrap();
    let layouts = ["built", "saved"].map(|name| place.path().join(name));
    let output = format!("type=oci,tar=false,dest={}", layouts[0].display());
    let _ = env.build("shout:1", SHOUT, ["--network=none", "-o", &output]).expect_code(0);
    env.bld(["save", "--format", "oci-dir", "-o"]).arg(&layouts[1]).arg("shout:1").ok();
    for layout in layouts {
        assert_eq!(podman(&env, &format!("oci:{}", layout.display())), "hello\ngone\n");
    }
    let registry = Registry::start().unwrap();
    for (tag, options) in [
        ("gzip", ""),
        ("docker", ",oci-mediatypes=false"),
        ("zstd", ",compression=zstd,force-compression=true,oci-mediatypes=true"),
        ("chunked", ",compression=zstd:chunked,force-compression=true"),
        ("estargz", ",compression=estargz,force-compression=true"),
    ] {
        let name = format!("{}/shout:{tag}", registry.host());
        let output = format!("type=registry{options}");
        let _ = env.build(&name, SHOUT, ["--network=none", "-o", &output]).expect_code(0);
        assert_eq!(podman(&env, &format!("docker://{name}")), "hello\ngone\n", "{tag}");
    }
}

#[test]
fn names_that_would_delete_are_in_no_layer() {
    let env = env();
    env.write("ctx/d/.wh.f", "f");
    env.write("ctx/d/.wh..wh..opq", "opq");
    env.write("ctx/d/a.wh.f", "a");
    let copied = "FROM scratch\nCOPY d /d/\n";
    let made = "FROM busybox\nRUN mkdir /d && echo f >/d/.wh.f\n";
    let archive = format!("type=oci,dest={}", env.path("o.tar").display());
    for dockerfile in [copied, made] {
        let refused = env.build("wh:1", dockerfile, ["--network=none", "-o", &archive]);
        let _ = refused.expect_code(1).expect_text("a layer deletes with names that begin with");
        assert!(!env.path("o.tar").exists());
    }
    // Files and file systems have them as any others.
    let dir = format!("type=local,dest={}", env.path("out").display());
    let tar = format!("type=tar,dest={}", env.path("out.tar").display());
    let _ = env.build("wh:1", copied, ["-o", &dir, "-o", &tar]).expect_code(0);
    let read = |name: &str| fs::read_to_string(env.path("out/d").join(name)).unwrap();
    assert_eq!([".wh.f", ".wh..wh..opq", "a.wh.f"].map(read), ["f", "opq", "a"]);
    let listed = Cmd::new("tar").arg("-tf").arg(env.path("out.tar")).ok().stdout;
    assert!(listed.contains("d/.wh.f\n") && listed.contains("d/.wh..wh..opq\n"), "{listed}");
}
