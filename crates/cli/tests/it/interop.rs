//! The real thing: packages are installed, a program is compiled, and other tools run the result.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bld_testkit::{Archive, Cmd, Registry, peer, rootfs, write_archive};

use crate::{env, podman};

pub(crate) const HELLO: &str = r#"#include <stdio.h>
int main(int argc, char **argv) {
    printf("hello, %s\n", argc > 1 ? argv[1] : "nobody");
    return 0;
}
"#;

fn dockerfile(registry: &Registry) -> String {
    format!(
        r#"FROM {}/debian:1 AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /src
COPY hello.c .
RUN gcc -O2 -static -o /hello hello.c

FROM busybox
COPY --from=build /hello /usr/bin/hello
USER daemon
ENTRYPOINT ["/usr/bin/hello"]
CMD ["world"]
"#,
        registry.host()
    )
}

/// The files of a Debian; made once and kept beside what cargo builds.
pub(crate) fn debian_layer() -> PathBuf {
    let layer = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debian-rootfs.tar");
    rootfs::debian(&layer).unwrap();
    layer
}

/// The same in a registry.
pub(crate) fn debian() -> Registry {
    let layer = debian_layer();
    let registry = Registry::start().unwrap();
    let archive = tempfile::NamedTempFile::new().unwrap();
    let bytes = std::fs::read(&layer).unwrap();
    write_archive(archive.path(), "debian:1", &bytes, &["bash"]).unwrap();
    registry.upload(archive.path(), "debian:1");
    registry
}

#[test]
fn a_compiled_program_is_taken_and_run_by_other_tools() {
    let env = env();
    let registry = debian();
    env.write("ctx/hello.c", HELLO);
    env.write("ctx/Dockerfile", dockerfile(&registry));
    let name = format!("{}/hello:1", registry.host());
    let archive = env.path("hello.tar");
    let layout = env.path("layout");
    let build = |output: &str| {
        env.bld(["build", "--progress", "plain", "-t", "hello:1", "-o", output, "ctx"])
            .timeout(Duration::from_mins(10))
            .ok()
    };
    build(&format!("type=oci,dest={}", archive.display()));
    let again = build(&format!("type=oci,tar=false,dest={}", layout.display()));
    assert_eq!(again.stderr.matches(" CACHED\n").count(), 7, "{again}");
    build("type=image");
    env.bld(["build", "-t", &name, "--push", "ctx"]).ok();
    assert_eq!(env.bld(["run", "--rm", "hello:1"]).ok().stdout, "hello, world\n");
    assert_eq!(env.bld(["run", "--rm", "hello:1", "you"]).ok().stdout, "hello, you\n");

    let image = Archive::read(&archive).unwrap();
    assert_eq!(image.config["config"]["User"], "daemon");
    assert_eq!(image.digest, Archive::read_layout(&layout).unwrap().digest);

    let sources = [
        format!("oci-archive:{}", archive.display()),
        format!("oci:{}", layout.display()),
        format!("docker://{name}"),
    ];
    for source in &sources {
        let seen = Cmd::new("skopeo").args(["inspect", "--tls-verify=false", source]).ok();
        assert!(seen.stdout.contains("\"Layers\""), "{seen}");
    }
    // Podman takes a directory's path for a name, which must not have capitals: not the layout.
    assert_eq!(podman(&env, &sources[0]), "hello, world\n");
    assert_eq!(podman(&env, &sources[2]), "hello, world\n");

    let buildah = |arguments: &[&str]| {
        let mut command = peer("buildah");
        let place = env.path("buildah");
        command.arg("--root").arg(place.join("root")).arg("--runroot").arg(place.join("run"));
        command.args(arguments);
        Cmd::from(command).ok()
    };
    buildah(&["from", "--tls-verify=false", "--name", "taken", &sources[2]]);
    let user = buildah(&["inspect", "--format", "{{.OCIv1.Config.User}}", "taken"]);
    assert_eq!(user.text(), "daemon", "{user}");

    let tag = Cmd::new("umoci").args(["ls", "--layout"]).arg(&layout).ok();
    let bundle = env.path("bundle");
    let reference = format!("{}:{}", layout.display(), tag.text());
    Cmd::new("umoci").args(["unpack", "--image", &reference]).arg(&bundle).ok();
    let hello =
        Cmd::new("chroot").arg(bundle.join("rootfs")).args(["/usr/bin/hello", "umoci"]).ok();
    assert_eq!(hello.stdout, "hello, umoci\n");
    env.assert_nothing_left();
}
