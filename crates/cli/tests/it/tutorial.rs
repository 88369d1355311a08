//! The tutorial, as it is printed: what its boxes say is typed, and what they show is seen.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bld_testkit::{Cmd, Registry, TestEnv, rootfs, write_archive};

use crate::BLD;

/// The boxes of a kind, in order.
fn boxes(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for part in text.split("\n```").skip(1).step_by(2) {
        let (kind, text) = part.split_once('\n').unwrap();
        found.push((kind, text));
    }
    found
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

#[test]
fn both_languages_have_the_same_boxes() {
    let (english, japanese) = (read("tutorial.md"), read("ja/tutorial.md"));
    assert_eq!(boxes(&english), boxes(&japanese));
    assert!(boxes(&english).len() > 15);
}

/// On a machine of its own, as far as the network goes: the ports that are named may be taken here.
#[test]
fn the_tutorial_works_as_printed() {
    let env = TestEnv::new(BLD);
    let registry = Registry::start().unwrap();
    let archive = env.path("busybox.tar");
    write_archive(&archive, "busybox:latest", &rootfs::busybox().unwrap(), &["sh"]).unwrap();
    registry.upload(&archive, "library/busybox:latest");
    let hub = env.home().join(".config/bld/certs.d/docker.io");
    fs::create_dir_all(&hub).unwrap();
    fs::write(hub.join("hosts.toml"), "[host.\"http://127.0.0.1:7001\"]\n").unwrap();
    for (name, port, data) in
        [("hub", 7001, registry.data().join("../../..")), ("own", 5000, env.path("own"))]
    {
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            data.display()
        );
        env.write(&format!("{name}.yml"), config);
    }
    let tutorial = read("tutorial.md");
    let mut script = String::from(
        "set -eu\nip link set lo up\n\
         docker-registry serve hub.yml & hub=$!\ndocker-registry serve own.yml & own=$!\n\
         trap 'bld ps -aq | xargs -r bld rm -f >/dev/null; kill $hub $own' EXIT\n\
         for port in 7001 5000; do\n\
         until wget -qO /dev/null http://127.0.0.1:$port/v2/; do sleep 0.1; done\ndone\n\
         mkdir work\ncd work\n",
    );
    let frontend = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../frontend");
    // As when bld is built without Node: then there is no page to take pictures of.
    let has_page = frontend.join("node_modules/playwright-core").is_dir();
    let mut expected = Vec::new();
    for (index, (kind, text)) in boxes(&tutorial).into_iter().enumerate() {
        if has_page && text.starts_with("bld du") {
            script += "node \"$FRONTEND/e2e/tutorial.mjs\"\n";
        }
        match kind {
            "sh" => script.extend([&*format!("echo \"== {index}\"\n"), text, "\n"]),
            "text" => expected.push((index - 1, text)),
            other => panic!("a box of kind {other}"),
        }
    }
    let programs = env.path("programs");
    fs::create_dir_all(&programs).unwrap();
    std::os::unix::fs::symlink(BLD, programs.join("bld")).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let output = Cmd::new("unshare")
        .args(["--net", "sh", "-c", &script])
        .cwd(env.path(""))
        .env("PATH", path)
        .env("BLD_ROOT", env.root())
        .env("BLD", BLD)
        .env("E2E_ROOT", env.root())
        .env("FRONTEND", &frontend)
        .env("HOME", env.home())
        .env_remove("BLD_CONFIG")
        .timeout(Duration::from_mins(3))
        .run()
        .expect_code(0);
    let all = format!("{}\n{}", output.stdout, output.stderr);
    for (index, text) in expected {
        // What is told on standard error is not among the output of its box.
        let own = output.stdout.split(&format!("== {index}\n")).nth(1).unwrap_or_default();
        let own = own.split("\n== ").next().unwrap_or_default();
        for line in text.lines() {
            assert!(own.contains(line) || output.stderr.contains(line), "{line:?} in {all}");
        }
    }
}
