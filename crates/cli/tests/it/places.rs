//! What a container shares with the host, and what of its devices it may use: asked of the kernel.

use std::path::PathBuf;

use bld_testkit::{Cmd, TestEnv};

use crate::{BLD, env};

fn inside(env: &TestEnv, flags: &[&str], script: &str) -> String {
    env.bld(["run", "--rm"]).args(flags).args(["busybox", "sh", "-c", script]).ok().stdout
}

#[test]
fn an_image_is_mounted_and_never_written() {
    let env = env();
    let dockerfile = "FROM busybox\nRUN mkdir -p /data/deep && echo one > /data/deep/f && \
                      ln -s /data/deep /link && ln -s ../../../../../../etc/hostname /out\n\
                      RUN echo two > /data/deep/g\n";
    let _ = env.build("tool:1", dockerfile, []).expect_code(0);
    let mount = "type=image,source=tool:1,target=/mnt/tool";
    let script =
        "cat /mnt/tool/data/deep/f /mnt/tool/data/deep/g; touch /mnt/tool/x 2>&1 || echo no";
    let seen = inside(&env, &["--mount", mount], script);
    assert!(seen.starts_with("one\ntwo\n") && seen.contains("Read-only file system"), "{seen}");

    // A directory, a file, and a link of the image, which leads nowhere but into the image.
    let part =
        |path: &str| format!("type=image,source=tool:1,target=/mnt/part,image-subpath={path}");
    for (path, script) in [
        ("data/deep", "cat /mnt/part/f; ls /mnt/part | wc -l"),
        ("link", "cat /mnt/part/f; ls /mnt/part | wc -l"),
    ] {
        assert_eq!(inside(&env, &["--mount", &part(path)], script), "one\n2\n", "{path}");
    }
    assert_eq!(inside(&env, &["--mount", &part("data/deep/g")], "cat /mnt/part"), "two\n");
    for (path, why) in [("nothing", "no such file"), ("out", "no such file")] {
        let run = env.bld(["run", "--rm", "--mount", &part(path), "busybox", "true"]).run();
        let _ = run.expect_code(125).expect_text(why);
    }

    // What is mounted somewhere is in use.
    env.bld(["create", "--name", "user", "--mount", mount, "busybox", "true"]).ok();
    let _ = env.bld(["rmi", "tool:1"]).run().expect_code(1).expect_text("is using");
    env.bld(["image", "prune", "-af"]).ok();
    let format = "{{range .Mounts}}{{.Type}} {{.Source}} {{.RW}}{{end}}";
    let inspect = env.bld(["inspect", "-f", format, "user"]).ok();
    assert_eq!(inspect.text(), "image tool:1 false");
    env.bld(["start", "user"]).ok();
    env.bld(["rm", "-f", "user"]).ok();
    env.bld(["rmi", "tool:1"]).ok();
    env.assert_nothing_left();
}

/// In a mount namespace of the test's own, which goes away with everything that is mounted in it.
#[test]
fn mounts_of_the_host_show_up_where_that_is_asked_for() {
    let env = env();
    let script = "set -e
        mkdir -p host; mount -t tmpfs tmpfs host; mount --make-private host
        ! $BLD run --rm -v $PWD/host:/h:rslave busybox true 2> refused
        mount --make-shared host; mkdir host/later host/back
        for mode in rprivate rslave rshared; do
            $BLD run -d --name $mode -v $PWD/host:/h:$mode busybox sleep 1000 > /dev/null
        done
        mount -t tmpfs tmpfs host/later; touch host/later/seen
        for mode in rprivate rslave rshared; do
            echo $mode $($BLD exec $mode ls /h/later) $($BLD inspect -f '{{(index .Mounts 0).Propagation}}' $mode)
        done
        $BLD exec --privileged rslave mount -t tmpfs tmpfs /h/back
        $BLD exec rslave touch /h/back/inside; ls host/back
        $BLD exec --privileged rshared mount -t tmpfs tmpfs /h/back
        $BLD exec rshared touch /h/back/inside; ls host/back
        $BLD rm -f rprivate rslave rshared > /dev/null; cat refused
        umount host/back host/later";
    let ran = Cmd::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .cwd(env.path(""))
        .env("BLD", BLD)
        .env("BLD_ROOT", env.root())
        .env("HOME", env.home())
        .ok();
    let (seen, refused) = ran.stdout.split_at(ran.stdout.find("Error").unwrap_or(0));
    assert_eq!(
        seen, "rprivate rprivate\nrslave seen rslave\nrshared seen rshared\ninside\n",
        "{ran}"
    );
    assert!(refused.contains("but it is not a shared or slave mount"), "{ran}");
    env.assert_nothing_left();
}

#[test]
fn memory_is_mounted_as_asked() {
    let env = env();
    let script = "echo 'echo ran' > /t/x 2>/dev/null; chmod +x /t/x 2>/dev/null; /t/x 2>&1; stat -c %u:%g:%a /t";
    let seen = |flag: &str| inside(&env, &["--tmpfs", flag], script);
    assert!(seen("/t:exec,uid=7,gid=8,mode=700").ends_with("ran\n7:8:700\n"));
    assert!(seen("/t").contains("Permission denied"));
    assert!(seen("/t:ro").contains("not found"));
    env.assert_nothing_left();
}

#[test]
fn names_groups_and_notes() {
    let env = env();
    let flags = ["--domainname", "example.test", "--group-add", "4242", "--annotation", "a.b=c"];
    let seen = inside(&env, &flags, "cat /proc/sys/kernel/domainname; id -G");
    assert_eq!(seen, "example.test\n0 10 4242\n");
    let create = ["create", "--name", "noted", "--userns", "host"];
    env.bld(create).args(flags).args(["busybox", "true"]).ok();
    let format = "{{.HostConfig.Annotations}} {{.HostConfig.GroupAdd}} {{.Config.Domainname}}";
    let inspect = env.bld(["inspect", "-f", format, "noted"]).ok();
    assert_eq!(inspect.text(), "map[a.b:c] [4242] example.test");
    let wrong = env.bld(["run", "--rm", "--userns", "own", "busybox", "true"]).run();
    let _ = wrong.expect_code(125).expect_text("invalid USER mode");

    let namespace = |kind: &str| {
        std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string()
    };
    let script = "readlink /proc/self/ns/uts; readlink /proc/self/ns/ipc";
    let host = format!("{}\n{}\n", namespace("uts"), namespace("ipc"));
    assert_eq!(inside(&env, &["--uts", "host", "--ipc", "host"], script), host);
    let own = inside(&env, &[], script);
    assert!(own.lines().zip(host.lines()).all(|(own, host)| own != host), "{own}");
    env.assert_nothing_left();
}

#[test]
fn the_hosts_processes_are_seen_and_ones_own_do_not_stay() {
    let env = env();
    let script = "sleep 4243 & readlink /proc/self/ns/pid";
    let own = std::fs::read_link("/proc/self/ns/pid").unwrap().display().to_string();
    assert_eq!(inside(&env, &["--pid", "host"], script), format!("{own}\n"));
    let left = Cmd::new("pgrep").args(["-f", "^sleep 4243"]).run();
    assert_eq!(left.stdout, "");
    let sleep = "sleep 4244 & sleep 4245";
    let run =
        env.bld(["run", "-d", "--name", "seeing", "--pid", "host", "busybox", "sh", "-c", sleep]);
    run.ok();
    env.bld(["exec", "seeing", "true"]).ok();
    env.bld(["stop", "-t", "1", "seeing"]).ok();
    let left = Cmd::new("pgrep").args(["-f", "^sleep 424[45]"]).run();
    assert_eq!(left.stdout, "");
    env.bld(["rm", "seeing"]).ok();
    env.assert_nothing_left();
}

#[test]
fn containers_share_processes_and_memory() {
    let env = env();
    let donor = "sleep 4246 & echo shared > /dev/shm/note; sleep 1000";
    let run = ["run", "-d", "--ipc", "shareable", "--name", "donor", "busybox", "sh", "-c", donor];
    env.bld(run).ok();
    let of = |kind: &str| {
        env.bld(["exec", "donor", "readlink", &format!("/proc/self/ns/{kind}")]).ok().stdout
    };
    let sees =
        "readlink /proc/self/ns/pid; ps | grep -c '[s]leep 4246'; kill -0 1; readlink /proc/1/exe";
    let seen = inside(&env, &["--pid", "container:donor"], sees);
    assert!(seen.starts_with(&of("pid")), "{seen}");
    assert!(seen.contains("\n1\n") && seen.contains("/bin/"), "{seen}");
    let reads = "readlink /proc/self/ns/ipc; cat /dev/shm/note; echo back > /dev/shm/answer";
    let seen = inside(&env, &["--ipc", "container:donor"], reads);
    assert_eq!(seen, of("ipc") + "shared\n");
    assert_eq!(env.bld(["exec", "donor", "cat", "/dev/shm/answer"]).ok().text(), "back");
    // What it leaves among the donor's processes ends with it; its own commands run there, too.
    inside(&env, &["--pid", "container:donor"], "sleep 4247 & true");
    assert_eq!(Cmd::new("pgrep").args(["-f", "^sleep 4247"]).run().stdout, "");
    let run =
        ["run", "-d", "--pid", "container:donor", "--name", "guest", "busybox", "sleep", "4248"];
    env.bld(run).ok();
    let seen = env.bld(["exec", "guest", "sh", "-c", "ps | grep -c '[s]leep 42'"]).ok();
    assert_eq!(seen.text(), "2");
    let format = "{{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}";
    let mode = env.bld(["inspect", "-f", format, "guest"]).ok();
    let id = env.bld(["inspect", "-f", "{{.Id}}", "donor"]).ok();
    assert_eq!(mode.text(), format!("container:{} private", id.text()));

    let refused = |flag: &str, text: &str| {
        let wrong = env.bld(["run", "--rm", flag, "busybox", "true"]).run();
        let _ = wrong.expect_code(125).expect_text(text);
    };
    refused("--ipc=container:guest", "non-shareable IPC (hint: use IpcMode:shareable");
    refused("--pid=container:nobody", "No such container: nobody");
    refused("--pid=container:", "invalid PID mode");
    // The end of the donor's processes is that of its guest.
    env.bld(["rm", "-f", "donor"]).ok();
    assert_eq!(env.bld(["wait", "guest"]).ok().text(), "137");
    let stopped = env.bld(["start", "guest"]).run();
    let _ = stopped.expect_code(1).expect_text("no such container");
    env.bld(["rm", "guest"]).ok();
    env.assert_nothing_left();
}

#[test]
fn a_part_of_a_volume_is_mounted() {
    let env = env();
    let script = "mkdir -p /v/a/b; echo deep > /v/a/b/f; ln -s /etc /v/out; ln -s a/b /v/in";
    inside(&env, &["-v", "parts:/v"], script);
    let mount = |path: &str| format!("--mount=type=volume,src=parts,dst=/m,volume-subpath={path}");
    assert_eq!(inside(&env, &[&mount("a/b")], "cat /m/f; echo new > /m/g"), "deep\n");
    assert_eq!(inside(&env, &[&mount("in")], "cat /m/f /m/g"), "deep\nnew\n");
    assert_eq!(inside(&env, &[&mount("a/b/f")], "cat /m"), "deep\n");
    for runtime in ["--runtime=crun", "--runtime=runc"] {
        assert_eq!(inside(&env, &[runtime, &mount("in")], "cat /m/f"), "deep\n");
        assert_eq!(inside(&env, &[runtime, &mount("a/b/f")], "cat /m"), "deep\n");
    }
    // Links lead nowhere but into the volume, and what is not there is not made.
    for path in ["out", "missing"] {
        let wrong = env.bld(["run", "--rm", &mount(path), "busybox", "true"]).run();
        let _ = wrong.expect_code(125).expect_text("No such file or directory");
    }
    let wrong = env.bld(["run", "--rm", &mount("../parts"), "busybox", "true"]).run();
    let _ = wrong.expect_code(125).expect_text("relative path within the volume");
    env.bld(["create", "--name", "still", &mount("a"), "busybox", "true"]).ok();
    assert_eq!(env.bld(["cp", "still:/m/b/f", "-"]).ok().stdout.matches("deep").count(), 1);
    env.bld(["rm", "still"]).ok();
    env.assert_nothing_left();
}

/// The disk that the store lies on.
fn disk() -> Option<PathBuf> {
    let found = Cmd::new("findmnt").args(["-no", "SOURCE", "-T", "/tmp"]).ok();
    Some(PathBuf::from(found.text())).filter(|device| device.starts_with("/dev"))
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
fn block_devices_give_no_more_than_allowed() {
    let env = env();
    let Some(disk) = disk().map(|disk| disk.display().to_string()) else {
        return eprintln!("skipped: /tmp is on no block device");
    };
    let rates = [
        format!("--device-read-bps={disk}:3mb"),
        format!("--device-write-bps={disk}:2mb"),
        format!("--device-read-iops={disk}:30"),
        format!("--device-write-iops={disk}:40"),
    ];
    let run = env.bld(["run", "-d", "--name", "slow"]).args(&rates);
    run.args(["busybox", "sleep", "1000"]).ok();
    let pid = env.bld(["inspect", "-f", "{{.State.Pid}}", "slow"]).ok().text().to_owned();
    let seen = limits_of(&pid);
    for limit in ["3145728", "2097152", "30", "40"] {
        assert!(seen.contains(limit), "{limit} in {seen}");
    }
    let format = "{{range .HostConfig.BlkioDeviceWriteIOps}}{{.Path}} {{.Rate}}{{end}}";
    let inspect = env.bld(["inspect", "-f", format, "slow"]).ok();
    assert_eq!(inspect.text(), format!("{disk} 40"));

    // The kernel holds it to that: four megabytes at two in a second.
    let began = std::time::Instant::now();
    let write = "dd if=/dev/zero of=/f bs=1M count=4 conv=fsync 2>/dev/null";
    env.bld(["exec", "slow", "sh", "-c", write]).ok();
    let took = began.elapsed();
    if !is_hybrid() {
        assert!(took.as_millis() > 900, "{took:?}");
    }
    env.bld(["rm", "-f", "slow"]).ok();
    let wrong = env.bld(["run", "--rm", "--device-read-bps", "/dev/null:1mb", "busybox", "true"]);
    let _ = wrong.run().expect_code(125).expect_text("not a block device");
    let wrong = env.bld(["run", "--rm", "--blkio-weight", "5", "busybox", "true"]);
    let _ = wrong.run().expect_code(125).expect_text("from 10 to 1000");
    env.assert_nothing_left();
}

/// Buffered writes are nobody's with version 1 of control groups: only direct ones are held back.
fn is_hybrid() -> bool {
    PathBuf::from("/sys/fs/cgroup/blkio").exists()
}

/// What the kernel holds the group of a process to, at block devices.
fn limits_of(pid: &str) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path = |controller: &str| {
        let line = groups.lines().find(|line| line.split(':').nth(1) == Some(controller));
        line.and_then(|line| line.splitn(3, ':').nth(2)).unwrap().to_owned()
    };
    if !is_hybrid() {
        let file = format!("/sys/fs/cgroup{}/io.max", path(""));
        return std::fs::read_to_string(file).unwrap();
    }
    let group = format!("/sys/fs/cgroup/blkio{}", path("blkio"));
    let name = |what: &str| format!("{group}/blkio.throttle.{what}_device");
    let kinds = ["read_bps", "write_bps", "read_iops", "write_iops"];
    kinds.map(|kind| std::fs::read_to_string(name(kind)).unwrap()).concat()
}
