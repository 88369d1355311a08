//! kill -9 at any moment: the next build works, and nothing is left mounted or running.

use std::{fs, process::Child, thread, time::Duration};

use bld_testkit::TestEnv;

use crate::env;

/// Moments to kill at, in milliseconds, spread without a pattern.
const MOMENTS: [u64; 20] =
    [3, 11, 17, 23, 31, 42, 55, 64, 78, 91, 107, 123, 150, 181, 220, 260, 305, 370, 440, 510];

fn kill(mut child: Child, after: u64) {
    thread::sleep(Duration::from_millis(after));
    let _ = child.kill();
    child.wait().unwrap();
}

fn logs(env: &TestEnv) -> std::path::PathBuf {
    let logs = env.path("logs");
    fs::create_dir_all(&logs).unwrap();
    logs
}

#[test]
fn killed_during_a_run() {
    let env = env();
    env.write(
        "ctx/Dockerfile",
        "FROM busybox\nARG N\nRUN for i in $(seq 1 50); do echo $N > /f$i; sleep 0.01; done\n",
    );
    for (n, moment) in MOMENTS.into_iter().enumerate() {
        let argument = format!("N={n}");
        let build = env.bld(["build", "-t", "k:1", "--build-arg", &argument, "ctx"]);
        kill(build.spawn(&logs(&env)), moment);
    }
    env.assert_nothing_left();
    env.bld(["build", "-t", "k:1", "--build-arg", "N=last", "ctx"]).ok();
    assert_eq!(env.bld(["run", "--rm", "k:1", "cat", "/f50"]).ok().text(), "last");
}

#[test]
fn killed_during_an_export() {
    let env = env();
    env.write(
        "ctx/Dockerfile",
        "FROM busybox\nARG N\nRUN dd if=/dev/urandom of=/data bs=1M count=8 2>/dev/null; echo $N > /n\n",
    );
    let archive = env.path("image.tar");
    let output = format!("type=oci,dest={}", archive.display());
    for (n, moment) in MOMENTS.into_iter().enumerate() {
        let argument = format!("N={}", n / 5);
        let arguments = ["build", "-t", "k:1", "--build-arg", &argument, "-o", &output, "ctx"];
        kill(env.bld(arguments).spawn(&logs(&env)), moment);
    }
    env.assert_nothing_left();
    env.bld(["build", "-t", "k:1", "--build-arg", "N=3", "-o", &output, "ctx"]).ok();
    let image = bld_testkit::Archive::read(&archive).unwrap();
    assert_eq!(image.text("/n"), "3\n");
}
