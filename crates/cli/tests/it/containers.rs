//! Containers from start to end.

use std::time::Duration;

use bld_testkit::{Cmd, Registry};

use crate::env;

#[test]
fn exit_codes_are_those_of_the_process_or_of_docker() {
    let env = env();
    let code = |words: &[&str]| env.bld(["run", "--rm"]).args(words).run().code;
    assert_eq!(code(&["busybox", "true"]), 0);
    assert_eq!(code(&["busybox", "sh", "-c", "exit 42"]), 42);
    assert_eq!(code(&["busybox", "/no/such/command"]), 127);
    assert_eq!(code(&["busybox", "/etc"]), 126);
    assert_eq!(code(&["--no-such-flag", "busybox"]), 125);
    env.assert_nothing_left();
}

#[test]
fn streams_environment_and_directories_get_through() {
    let env = env();
    let echoed = env.bld(["run", "--rm", "-i", "busybox", "cat"]).stdin("typed\n").ok();
    assert_eq!(echoed.stdout, "typed\n");
    let both = env.bld(["run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));

    env.write("shared/file", "from the host");
    let volume = format!("{}:/mnt", env.path("shared").display());
    let script = "pwd; id -u; echo $WORD; cat /mnt/file; echo back > /mnt/made";
    let seen = env
        .bld(["run", "--rm", "-w", "/tmp", "-u", "0", "-e", "WORD=hi", "-v", &volume])
        .args(["busybox", "sh", "-c", script])
        .ok();
    assert_eq!(seen.stdout, "/tmp\n0\nhi\nfrom the host");
    assert_eq!(std::fs::read_to_string(env.path("shared/made")).unwrap(), "back\n");
    let other = env.bld(["run", "--rm", "--entrypoint", "echo", "busybox", "a", "b"]).ok();
    assert_eq!(other.stdout, "a b\n");
}

#[test]
fn a_detached_container_is_listed_logged_stopped_and_removed() {
    let env = env();
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done";
    let id = env.bld(["run", "-d", "--name", "web", "busybox", "sh", "-c", script]).ok();
    assert_eq!(id.text().len(), 64, "{id}");
    for _ in 0..100 {
        if env.bld(["logs", "web"]).ok().stdout.contains("up") {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let listed = env.bld(["ps"]).ok();
    assert!(listed.stdout.contains("web") && listed.stdout.contains("Up "), "{listed}");
    let clash = env.bld(["run", "-d", "--name", "web", "busybox", "true"]).run();
    let _ = clash.expect_code(125).expect_text("Conflict");
    assert_ne!(env.bld(["rm", "web"]).run().code, 0, "it runs");

    assert_eq!(env.bld(["stop", "web"]).ok().text(), "web");
    assert_eq!(env.bld(["logs", "web"]).ok().stdout, "up\nbye\n");
    assert!(!env.bld(["ps"]).ok().stdout.contains("web"));
    assert!(env.bld(["ps", "-a"]).ok().stdout.contains("Exited (3)"));
    env.bld(["start", "web"]).ok();
    env.bld(["kill", "web"]).ok();
    assert_eq!(env.bld(["wait", "web"]).ok().text(), "137");
    env.bld(["rm", "web"]).ok();
    assert!(!env.bld(["ps", "-a"]).ok().stdout.contains("web"));
    env.assert_nothing_left();
}

#[test]
fn a_container_becomes_an_image_that_is_pushed() {
    let env = env();
    let registry = Registry::start().unwrap();
    env.bld(["run", "--name", "box", "busybox", "sh", "-c", "echo mine > /mine; rm /etc/group"])
        .ok();
    let name = format!("{}/mine:1", registry.host());
    let id = env.bld(["commit", "-c", r#"CMD ["cat", "/mine"]"#, "box", &name]).ok();
    assert!(id.text().starts_with("sha256:"), "{id}");
    assert_eq!(env.bld(["run", "--rm", &name]).ok().stdout, "mine\n");
    env.bld(["push", &name]).ok();
    let archive = env.path("copy.tar");
    Cmd::new("skopeo")
        .args(["copy", "--src-tls-verify=false", &format!("docker://{name}")])
        .arg(format!("oci-archive:{}", archive.display()))
        .ok();
    let image = bld_testkit::Archive::read(&archive).unwrap();
    assert_eq!(image.text("/mine"), "mine\n");
    assert!(!image.files.contains_key("/etc/group"));
    env.bld(["rm", "box"]).ok();
}
