//! From a Dockerfile to an image.

use std::{fmt::Write as _, time::Duration};

use bld_testkit::{Archive, Cmd, Kind, Output, TestEnv};

use crate::env;

/// Builds into an archive and reads it.
fn image(env: &TestEnv, dockerfile: &str) -> Archive {
    let archive = env.path("image.tar");
    let output = format!("type=oci,dest={}", archive.display());
    let built: Output = env.build("t:1", dockerfile, ["-o", &output]);
    let _ = built.expect_code(0);
    Archive::read(&archive).unwrap()
}

#[test]
fn every_instruction_does_its_part() {
    let env = env();
    env.write("ctx/src/a.txt", "a");
    env.write("ctx/src/sub/b.txt", "b");
    env.write("ctx/src/skip.log", "log");
    env.write("ctx/.dockerignore", "**/*.log\n");
    env.write_script("ctx/tool.sh", "#!/bin/sh\necho tool\n");
    let image = image(
        &env,
        r#"
ARG TAG=latest
FROM busybox:${TAG} AS build
ARG WORD=hello
ENV GREETING="${WORD} world"
WORKDIR /work
COPY src src/
RUN echo "$GREETING" > greeting && ls src > names
RUN <<EOF
set -e
id -u > user
hostname > host
EOF

FROM busybox
LABEL one=1 two="2 2"
COPY --from=build --chown=daemon:daemon /work /data
COPY --chmod=0700 tool.sh /usr/bin/tool
ADD tool.sh /added/
USER daemon
EXPOSE 80/tcp
VOLUME /data
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
ENTRYPOINT ["tool"]
CMD ["x"]
"#,
    );
    let config = &image.config["config"];
    assert_eq!(config["Labels"]["two"], "2 2");
    assert_eq!(config["User"], "daemon");
    assert_eq!(config["Entrypoint"][0], "tool");
    assert_eq!(config["Cmd"][0], "x");
    assert!(config["ExposedPorts"]["80/tcp"].is_object());
    assert_eq!(config["StopSignal"], "SIGINT");
    assert_eq!(image.text("/data/greeting"), "hello world\n");
    assert_eq!(image.text("/data/names"), "a.txt\nsub\n");
    assert_eq!(image.text("/data/user"), "0\n");
    assert_eq!(image.files["/data/greeting"].uid, 1);
    assert_eq!(image.files["/usr/bin/tool"].mode, 0o700);
    assert_eq!(image.files["/added/tool.sh"].mode, 0o755);
    assert_eq!(image.files["/added"].kind, Kind::Directory);
    assert!(!image.files.contains_key("/work"));
    let left_by_mounts = ["/etc/resolv.conf", "/etc/hosts", "/proc/version", "/dev/null"];
    for path in left_by_mounts {
        assert!(!image.files.contains_key(path), "{path} got into the image");
    }
    env.assert_nothing_left();
}

#[test]
fn a_step_is_confined_as_docker_confines_it() {
    let env = env();
    let image = image(
        &env,
        "FROM busybox\nRUN grep -E '^(CapEff|CapBnd|Seccomp):' /proc/self/status > /status \
         && ls /proc/self/fd | wc -l > /fds && cat /proc/1/comm > /init \
         && (echo x > /proc/sys/kernel/hostname) 2> /sys-error || true\n\
         RUN ps | wc -l > /processes; mount | grep -c /dev/pts > /pts; ls /sys/class/net > /links\n",
    );
    let status = image.text("/status");
    assert!(status.contains("CapEff:\t00000000a80425fb"), "{status}");
    assert!(status.contains("CapBnd:\t00000000a80425fb"), "{status}");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    // 0, 1, 2 and the one `ls` has open.
    assert_eq!(image.text("/fds").trim(), "4");
    assert!(image.text("/sys-error").to_lowercase().contains("read-only"));
    assert!(image.text("/links").contains("eth0"));
}

#[test]
fn independent_stages_run_side_by_side() {
    let env = env();
    let mut dockerfile = String::new();
    for n in 0..8 {
        let _ = writeln!(dockerfile, "FROM busybox AS s{n}\nRUN sleep 0.5 && echo {n} > /o{n}");
    }
    dockerfile += "FROM busybox\n";
    for n in 0..8 {
        let _ = writeln!(dockerfile, "COPY --from=s{n} /o{n} /o{n}");
    }
    let built = env.build("side:1", &dockerfile, []).expect_code(0);
    assert!(built.elapsed < Duration::from_millis(2500), "{built}");
    let seen = env.bld(["run", "--rm", "side:1", "sh", "-c", "cat /o?"]).ok();
    assert_eq!(seen.stdout, "0\n1\n2\n3\n4\n5\n6\n7\n");
}

#[test]
fn output_of_a_step_is_seen_while_it_runs_and_is_never_clipped() {
    let env = env();
    let built = env
        .build(
            "loud:1",
            "FROM busybox\nRUN seq 1 200000 | sed 's/^/line /'; echo the end >&2\n",
            [],
        )
        .expect_code(0);
    assert!(built.stderr.contains("line 1\n") && built.stderr.contains("line 200000\n"));
    assert!(built.stderr.contains("the end"));
}

#[test]
fn a_target_builds_only_what_it_needs() {
    let env = env();
    let dockerfile = "FROM busybox AS good\nRUN echo ok > /ok\nFROM busybox AS bad\nRUN false\n";
    let _ = env.build("t:1", dockerfile, ["--target", "good"]).expect_code(0);
    let _ = env.build("t:2", dockerfile, ["--target", "bad"]).expect_code(1);
}

#[test]
fn layers_that_came_from_elsewhere_can_be_compressed_anew() {
    let env = env();
    let dockerfile = "FROM busybox\nRUN echo x > /x\n";
    let gzip = image(&env, dockerfile);
    let output = format!(
        "type=oci,compression=zstd,force-compression=true,dest={}",
        env.path("z.tar").display()
    );
    let _ = env.build("t:1", dockerfile, ["-o", &output]).expect_code(0);
    let zstd = Archive::read(&env.path("z.tar")).unwrap();
    assert_eq!(zstd.files, gzip.files);
    assert_eq!(zstd.config["rootfs"], gzip.config["rootfs"]);
    for layer in zstd.manifest["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+zstd");
    }
}

/// overlayfs takes 500 layers.
#[test]
fn any_number_of_layers() {
    let env = env();
    let mut dockerfile = "FROM busybox\n".to_owned();
    for n in 0..520 {
        env.write(&format!("ctx/{n}"), n.to_string());
        writeln!(dockerfile, "COPY {n} /files/{n}").unwrap();
        if n == 300 {
            // Deleted and replaced in the middle of what will be merged.
            dockerfile.push_str("RUN rm -r /files/1* && rm /bin/wget && mkdir /bin/wget\n");
        }
    }
    dockerfile
        .push_str("RUN ls /files | wc -l > /count && ls -A /bin/wget >> /count && cat /count\n");
    // First into the store, which packs nothing.
    let _ = env.build("t:1", &dockerfile, []).expect_code(0);
    let image = image(&env, &dockerfile);
    // 1, 10 to 19 and 100 to 199 are gone.
    assert_eq!(image.text("/count"), "409\n");
    assert_eq!(image.files["/bin/wget"].kind, Kind::Directory);
    assert!(!image.files.contains_key("/files/150"));
    assert_eq!(image.text("/files/519"), "519");
    assert_eq!(image.layers.len(), 1 + 522);
    let seen =
        env.bld(["run", "--rm", "t:1", "sh", "-c", "ls /files | wc -l; ls -d /bin/wget"]).ok();
    assert_eq!(seen.text(), "409\n/bin/wget");
    let _ = env.bld(["system", "check"]).ok();
    env.bld(["rmi", "t:1"]).ok();
    env.bld(["prune", "-af"]).ok();
    assert_eq!(std::fs::read_dir(env.root().join("merged")).unwrap().count(), 0);
    env.assert_nothing_left();
}

#[test]
fn the_same_tree_gives_the_same_image_in_two_stores() {
    let dockerfile =
        "FROM busybox\nCOPY src /src\nRUN echo x > /x && touch -d '2001-01-01 00:00:00' /x /\n";
    let digest = |env: TestEnv| {
        env.write("ctx/src/a", "a");
        env.write("ctx/src/b/c", "c");
        for name in ["ctx/src/a", "ctx/src/b/c", "ctx/src/b", "ctx/src"] {
            Cmd::new("touch").args(["-d", "2001-01-01"]).arg(env.path(name)).ok();
        }
        let archive = env.path("image.tar");
        let output = format!("type=oci,dest={}", archive.display());
        env.bld(["build", "-t", "t:1", "-f", "-", "-o", &output])
            .arg(env.path("ctx"))
            .env("SOURCE_DATE_EPOCH", "1600000000")
            .stdin(dockerfile)
            .ok();
        Archive::read(&archive).unwrap().digest
    };
    assert_eq!(digest(env()), digest(env()));
}
