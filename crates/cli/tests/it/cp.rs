//! Copying into and out of containers, and what they are doing.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};
use std::time::Duration;

use bld_testkit::{Cmd, Output, TestEnv};

use crate::env;

/// A container that runs, or has run, with a volume at `/data` and a read-only one at `/sealed`.
fn container(env: &TestEnv, name: &str, runs: bool) {
    let run = ["run", "-d", "--name", name, "-v", &format!("{name}-data:/data")];
    let run =
        env.bld(run).args(["-v", &format!("{name}-sealed:/sealed:ro"), "busybox", "sh", "-c"]);
    let script =
        "mkdir -p /srv/deep; echo in > /srv/f; ln -s /data /link; ln -s / /srv/up; sleep 1000";
    run.arg(script).ok();
    while env.bld(["exec", name, "test", "-L", "/srv/up"]).run().code != 0 {}
    if !runs {
        env.bld(["stop", "-t", "0", name]).ok();
    }
}

fn cp(env: &TestEnv, arguments: &[&str]) -> Output {
    env.bld(["cp"]).args(arguments).cwd(env.path(".")).run()
}

/// Between running and ended there is an instant in which a container's root is gone already.
#[test]
fn files_come_out_of_containers_that_are_just_ending() {
    let env = env();
    env.bld(["create", "--name", "brief", "busybox", "sh", "-c", "echo A >/f"]).ok();
    for round in 0..40 {
        env.bld(["start", "brief"]).ok();
        std::thread::sleep(Duration::from_millis(round % 10));
        let _ = cp(&env, &["brief:/etc/passwd", "out"]).expect_code(0);
        env.bld(["wait", "brief"]).ok();
    }
    let _ = cp(&env, &["brief:/f", "out"]).expect_code(0);
    assert_eq!(std::fs::read_to_string(env.path("out")).unwrap(), "A\n");
}

#[test]
fn files_go_in_and_out_of_containers_that_run_or_do_not() {
    let env = env();
    env.write("src/a.txt", "A");
    env.write("src/sub/b", "B");
    symlink("a.txt", env.path("src/l")).unwrap();
    for (name, runs) in [("live", true), ("still", false)] {
        container(&env, name, runs);
        let at = |path: &str| format!("{name}:{path}");
        for (from, to) in [
            ("src", "/srv/new"),
            ("src", "/srv/deep"),
            ("src/.", "/srv/deep"),
            ("src/a.txt", "/srv/renamed"),
            ("src/a.txt", "/srv/up/srv/through"),
            ("src/a.txt", "/data/kept"),
            ("src/a.txt", "/link/by-link"),
            ("src/l", "/srv/linked"),
            ("src/sub/b", "/srv/f"),
        ] {
            let _ = cp(&env, &[from, &at(to)]).expect_code(0);
        }
        for (path, text) in [
            ("/srv/new/a.txt", "A"),
            ("/srv/new/sub/b", "B"),
            ("/srv/deep/src/a.txt", "A"),
            ("/srv/deep/a.txt", "A"),
            ("/srv/renamed", "A"),
            ("/srv/through", "A"),
            ("/data/kept", "A"),
            ("/link/by-link", "A"),
            ("/data/by-link", "A"),
            ("/srv/f", "B"),
        ] {
            let _ = cp(&env, &[&at(path), "out"]).expect_code(0);
            assert_eq!(std::fs::read_to_string(env.path("out")).unwrap(), text, "{name} {path}");
        }
        let volume = format!("{name}-data");
        let volume = env.bld(["volume", "inspect", "-f", "{{.Mountpoint}}", &volume]).ok();
        assert!(std::path::Path::new(volume.text()).join("by-link").is_file(), "{name}");

        let _ = cp(&env, &[&at("/srv/linked"), "out-link"]).expect_code(0);
        assert_eq!(std::fs::read_link(env.path("out-link")).unwrap().to_str(), Some("a.txt"));
        let _ = cp(&env, &["-L", &at("/link"), "followed"]).expect_code(0);
        assert!(env.path("followed/by-link").is_file());
        let _ = cp(&env, &[&at("/srv/new/."), "contents"]).expect_code(0);
        assert!(env.path("contents/sub/b").is_file());
        for path in ["out", "out-link"] {
            std::fs::remove_file(env.path(path)).unwrap();
        }
        for path in ["followed", "contents"] {
            std::fs::remove_dir_all(env.path(path)).unwrap();
        }
        if !runs {
            env.bld(["start", name]).ok();
        }
        let listed = env.bld(["exec", name, "cat", "/srv/new/sub/b", "/link/kept"]).ok();
        assert_eq!(listed.stdout, "BA");
        env.bld(["rm", "-f", name]).ok();
        env.bld(["volume", "rm", &format!("{name}-data"), &format!("{name}-sealed")]).ok();
    }
    env.assert_nothing_left();
}

#[test]
fn what_can_not_be_copied_is_said_by_the_containers_names() {
    let env = env();
    env.write("f", "f");
    env.write("d/x", "x");
    for (name, runs) in [("live", true), ("still", false)] {
        container(&env, name, runs);
        let at = |path: &str| format!("{name}:{path}");
        for (from, to, text) in [
            (at("/none"), "out".to_owned(), "could not find the file /none in container"),
            (at("/srv/f/"), "out".to_owned(), "could not find the file /srv/f/ in container"),
            ("none".to_owned(), at("/"), "no such file or directory"),
            ("f/".to_owned(), at("/"), "not a directory"),
            ("f".to_owned(), at("/none/f"), "could not find the file /none in container"),
            ("f".to_owned(), at("/none/"), "no such directory"),
            ("d".to_owned(), at("/srv/f"), "cannot copy directory"),
            ("f".to_owned(), at("/sealed/f"), "mounted volume is marked read-only"),
            (at("/srv"), "f".to_owned(), "cannot copy directory"),
            (at("/srv"), "none/x".to_owned(), "does not exist"),
            (at("/a"), "other:/b".to_owned(), "copying between containers is not supported"),
            ("f".to_owned(), "g".to_owned(), "must specify at least one container source"),
            ("f".to_owned(), "nobody:/".to_owned(), "no such container: nobody"),
        ] {
            let refused = cp(&env, &[&from, &to]).expect_code(1);
            let said = refused.stderr.to_lowercase();
            assert!(said.contains(text), "{from} {to}: {refused}");
            assert!(!said.contains("/proc/"), "{refused}");
        }
        env.bld(["rm", "-f", name]).ok();
    }
    env.bld(["create", "--read-only", "--name", "hard", "busybox", "true"]).ok();
    let refused = cp(&env, &["f", "hard:/f"]).expect_code(1);
    assert!(refused.stderr.contains("container rootfs is marked read-only"), "{refused}");
    env.bld(["rm", "hard"]).ok();
    env.bld(["volume", "prune", "-af"]).ok();
    env.assert_nothing_left();
}

#[test]
fn tar_streams_and_owners() {
    let env = env();
    env.write("src/f", "text");
    env.write("src/.wh.g", "no whiteout");
    std::os::unix::fs::chown(env.path("src/f"), Some(4321), Some(4322)).unwrap();
    container(&env, "web", true);
    let shell = |line: &str| {
        let line = line.replace("bld", crate::BLD);
        Cmd::new("sh").args(["-c", &line]).cwd(env.path(".")).env("BLD_ROOT", env.root()).run()
    };
    let seen = shell("tar cf - src | bld cp - web:/srv && bld cp web:/srv/src - | tar tf -");
    let mut names: Vec<_> = seen.stdout.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["src/", "src/.wh.g", "src/f"]);
    // An archive says whose its files are; without one they are root's, unless asked otherwise.
    let owner =
        |path: &str| env.bld(["exec", "web", "stat", "-c", "%u:%g", path]).ok().text().to_owned();
    assert_eq!(owner("/srv/src/f"), "4321:4322");
    let _ = cp(&env, &["src/f", "web:/srv/plain"]).expect_code(0);
    assert_eq!(owner("/srv/plain"), "0:0");
    let _ = cp(&env, &["-a", "src/f", "web:/srv/kept"]).expect_code(0);
    assert_eq!(owner("/srv/kept"), "4321:4322");
    let _ = cp(&env, &["web:/srv/kept", "plain"]).expect_code(0);
    assert_eq!(std::fs::metadata(env.path("plain")).unwrap().uid(), 0);
    let quiet = cp(&env, &["-q", "-a", "web:/srv/kept", "kept"]).expect_code(0);
    assert_eq!(quiet.stderr, "");
    assert_eq!(std::fs::metadata(env.path("kept")).unwrap().gid(), 4322);
    let refused = shell("bld cp - web:/srv/plain < /dev/null").expect_code(1);
    assert!(refused.stderr.contains("must be a directory"), "{refused}");
    env.bld(["rm", "-f", "web"]).ok();
    env.bld(["volume", "prune", "-af"]).ok();
    env.assert_nothing_left();
}

/// CVE-2018-15664 and its kin: nothing that a container puts in the way leads to the host.
#[test]
fn no_link_of_a_container_leads_to_the_host() {
    let env = env();
    env.write("secret", "of the host");
    env.write("payload", "payload");
    let dir = env.path("").display().to_string();
    let script = format!(
        "mkdir -p /t; ln -s {dir}/secret /t/file; ln -s {dir} /t/dir; ln -s ../../../../..{dir} /t/up;
         while :; do rm -rf /t/s; mkdir /t/s; echo mine > /t/s/secret; rm -rf /t/s; ln -s {dir} /t/s; done"
    );
    env.bld(["run", "-d", "--name", "evil", "busybox", "sh", "-c", &script]).ok();
    while env.bld(["exec", "evil", "test", "-L", "/t/up"]).run().code != 0 {}
    for path in ["/t/dir/secret", "/t/up/secret"] {
        let refused = cp(&env, &[&format!("evil:{path}"), "out"]).expect_code(1);
        assert!(refused.stderr.contains("Could not find the file"), "{refused}");
        let refused = cp(&env, &["payload", &format!("evil:{path}")]).expect_code(1);
        assert!(!refused.stderr.contains("/proc/"), "{refused}");
    }
    let _ = cp(&env, &["-L", "evil:/t/file", "out"]).expect_code(1);
    // What is no file of the host stays what it is: root could take the place of a device.
    for special in ["pipe", "link"] {
        let (path, kind) =
            (env.path("pipe"), "must be a directory or a regular file: got a named pipe");
        if special == "pipe" {
            Cmd::new("mkfifo").arg(&path).ok();
        } else {
            symlink(&path, env.path("link")).unwrap();
        }
        let refused = cp(&env, &["evil:/etc/passwd", special]).expect_code(1);
        assert!(refused.stderr.contains(kind), "{refused}");
        assert!(std::fs::metadata(&path).unwrap().file_type().is_fifo());
    }
    for _ in 0..60 {
        let _raced = cp(&env, &["evil:/t/s/secret", "raced"]);
        if let Ok(text) = std::fs::read_to_string(env.path("raced")) {
            assert_ne!(text, "of the host");
        }
        let _raced = cp(&env, &["payload", "evil:/t/s/secret"]);
    }
    assert_eq!(std::fs::read_to_string(env.path("secret")).unwrap(), "of the host");
    env.bld(["rm", "-f", "evil"]).ok();
    env.assert_nothing_left();
}

#[test]
fn processes_and_usage_are_shown() {
    let env = env();
    let script = "sleep 1001 & while :; do :; done";
    env.bld(["run", "-d", "--name", "busy", "-m", "64m", "busybox", "sh", "-c", script]).ok();
    let top = env.bld(["top", "busy"]).ok().stdout;
    let mut lines = top.lines();
    let titles: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert!(lines.any(|line| line.ends_with("sleep 1001")), "{top}");
    let top = env.bld(["top", "busy", "-o", "pid,comm"]).ok().stdout;
    assert_eq!(top.lines().count(), 3, "{top}");
    let _ = env.bld(["top", "busy", "-o", "comm"]).run().expect_code(1).expect_text("PID field");

    let format = "{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}";
    let stats = env.bld(["stats", "--no-stream", "--format", format]).ok();
    let words: Vec<_> = stats.text().split(' ').collect();
    let percent: f64 = words[1].trim_end_matches('%').parse().unwrap();
    assert!(percent > 5.0, "{stats}");
    assert!(!words[2].starts_with("0B") && words[4] == "64MiB", "{stats}");
    assert_eq!(words[5], "2");
    env.bld(["stop", "-t", "0", "busy"]).ok();
    let all = env.bld(["stats", "--no-stream", "-a", "--format", format]).ok();
    assert_eq!(all.text(), "busy 0.00% 0B / 0B 0");
    let _ = env.bld(["top", "busy"]).run().expect_code(1).expect_text("is not running");
    env.bld(["rm", "busy"]).ok();
    env.assert_nothing_left();
}
