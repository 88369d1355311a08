//! Flags of `bld build` that reach its steps, and those that do not.

use crate::env;

#[test]
fn limits_reach_every_step_and_no_key() {
    let env = env();
    let parent = format!("/bld-test-{}", std::process::id());
    let dockerfile = "FROM busybox\nRUN ulimit -n; df -k /dev/shm | tail -1; \
                      grep Cpus_allowed_list /proc/self/status; echo seen\n";
    let limits = [
        "--resource",
        "memory=64m",
        "--memory-swap=-1",
        "-c",
        "512",
        "--cpu-period=50000",
        "--cpu-quota=40000",
        "--cpuset-cpus=0",
        "--cpuset-mems=0",
        "--shm-size=3m",
        "--ulimit",
        "nofile=100:200",
        "--cgroup-parent",
        &parent,
    ];
    let built = env.build("l:1", dockerfile, limits).expect_code(0);
    for text in ["100\n", "3072", "Cpus_allowed_list:\t0\n"] {
        assert!(built.stderr.contains(text), "{text}: {built}");
    }
    // The parent is the user's, and stays; what lies in it does not.
    for group in groups(&parent) {
        std::fs::remove_dir(&group).unwrap_or_else(|error| panic!("{group:?}: {error}"));
    }
    let again = env.build("l:1", dockerfile, ["-m", "1g"]).expect_code(0);
    assert!(again.stderr.contains("CACHED"), "{again}");
    let oom = env.build("l:2", "FROM busybox\nRUN tail /dev/zero\n", ["-m", "32m"]).expect_code(1);
    let _ = oom.expect_text("ran out of memory").expect_text("limited to 32 MiB");
    env.assert_nothing_left();
}

/// Twice what fits: one alone does well, both together do not.
#[test]
fn memory_limits_all_steps_together() {
    let env = env();
    // What is in /dev/shm is memory of the step.
    let eat = "RUN head -c 40m /dev/zero > /dev/shm/x && sleep 2\n";
    let one = format!("FROM busybox\n{eat}");
    let both = format!(
        "FROM busybox AS a\n{eat}RUN touch /a\nFROM busybox AS b\nRUN true\n{eat}RUN touch /b\n\
         FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    );
    let limits = ["--memory", "64m", "--memory-swap", "64m", "--cpus", "1.5"];
    let _ = env.build("m:1", &one, limits).expect_code(0);
    let oom = env.build("m:2", &both, limits.into_iter().chain(["--no-cache"])).expect_code(1);
    let _ = oom.expect_text("ran out of memory").expect_text("raise --memory, or lower --jobs");
    let limits = ["--memory", "64m", "--memory-swap", "64m", "--no-cache", "-j", "1"];
    let _ = env.build("m:2", &both, limits).expect_code(0);
    env.assert_nothing_left();
}

#[test]
fn a_container_that_was_killed_for_memory_says_so() {
    let env = env();
    let _ = env.build("o:1", "FROM busybox\n", []).expect_code(0);
    let script = "tail /dev/zero; exit 3";
    let run = env.bld(["run", "--name", "big", "-m", "16m", "o:1", "sh", "-c", script]);
    let _ = run.run().expect_code(3);
    let inspect = env.bld(["inspect", "-f", "{{.State.OOMKilled}}", "big"]).ok();
    assert_eq!(inspect.stdout.trim(), "true");
}

#[test]
fn more_layers_than_the_kernel_stacks() {
    let env = env();
    let copies = (0..520).map(|n| format!("COPY f /f{n}\n")).collect::<Vec<_>>().concat();
    let dockerfile = format!(
        "FROM busybox\n{copies}RUN ls / | grep -c '^f' && rm /f7\nRUN test -e /f519 && test ! -e /f7\n"
    );
    env.write("ctx/f", "x");
    let built = env.build("deep:1", &dockerfile, []).expect_code(0);
    let _ = built.expect_text("520");
    let run =
        env.bld(["run", "--rm", "deep:1", "sh", "-c", "ls / | grep -c '^f'; echo > /f7"]).ok();
    assert_eq!(run.stdout.trim(), "519");
    env.assert_nothing_left();
}

/// The directories of a control group, in every hierarchy.
fn groups(name: &str) -> Vec<std::path::PathBuf> {
    let name = name.trim_start_matches('/');
    let own = std::path::Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(own).unwrap().flatten().map(|entry| entry.path());
    let groups = hierarchies.chain([own.to_owned()]).map(|hierarchy| hierarchy.join(name));
    let found: Vec<_> = groups.filter(|group| group.is_dir()).collect();
    assert!(!found.is_empty(), "there is no group {name}");
    found
}

#[test]
fn hosts_are_added_in_every_form() {
    let env = env();
    let dockerfile = "FROM busybox\nRUN cat /etc/hosts; ip route | head -1\n";
    let hosts = [
        "--add-host",
        "a:192.0.2.1,192.0.2.2,b=192.0.2.3",
        "--add-host=c=[2001:db8::1]",
        "--add-host=d:2001:db8::2",
        "--add-host=gate:host-gateway",
    ];
    let built = env.build("h:1", dockerfile, hosts).expect_code(0);
    let gateway = built.stderr.split("default via ").nth(1).unwrap().split(' ').next().unwrap();
    for line in [
        "192.0.2.1\ta\n",
        "192.0.2.2\ta\n",
        "192.0.2.3\tb\n",
        "2001:db8::1\tc\n",
        "2001:db8::2\td\n",
        &format!("{gateway}\tgate\n"),
    ] {
        assert!(built.stderr.contains(line), "{line:?}: {built}");
    }
    // An address is not what a result is known by; a name is.
    let moved = hosts.map(|word| word.replace("192.0.2.1", "192.0.2.9"));
    let again = env.build("h:1", dockerfile, moved.iter().map(String::as_str)).expect_code(0);
    assert!(again.stderr.contains("CACHED"), "{again}");
    let fewer = env.build("h:1", dockerfile, ["--add-host=a:192.0.2.1"]).expect_code(0);
    assert!(fewer.stderr.contains("192.0.2.1\ta\n"), "{fewer}");
}

#[test]
fn the_network_of_the_host_has_to_be_allowed() {
    let env = env();
    let dockerfile = "FROM busybox\nRUN --network=host ip link | grep -c bld0 || true\n";
    let refused = env.build("n:1", dockerfile, []).expect_code(1);
    let _ = refused.expect_text("--allow network.host");
    let _ = env.build("n:1", dockerfile, ["--allow", "network.host"]).expect_code(0);
    // Who puts the whole build there has allowed it, as with buildx.
    let _ = env.build("n:1", dockerfile, ["--network", "host"]).expect_code(0);
    let typo = env.build("n:1", dockerfile, ["--allow", "network.hots"]).expect_code(1);
    let _ = typo.expect_text("did you mean network.host?");
    let insecure = "FROM busybox\nRUN --security=insecure grep CapEff /proc/self/status\n";
    let _ = env.build("n:2", insecure, []).expect_code(1).expect_text("security.insecure");
    let full = env.build("n:2", insecure, ["--allow=security.insecure"]).expect_code(0);
    assert!(!full.stderr.contains("00000000a80425fb"), "{full}");
}

#[test]
fn flags_that_change_nothing_are_accepted_and_say_so() {
    let env = env();
    let words = [
        "--rm=true",
        "--force-rm",
        "--compress",
        "--isolation=hyperv",
        "--security-opt=seccomp=unconfined",
        "--disable-content-trust",
        "--builder=mine",
        "--load",
        "--pull=false",
        "--no-cache=false",
        "--allow=buildx.local.delete",
    ];
    let built = env.build("w:1", "FROM busybox\nRUN true\n", words).expect_code(0);
    let notes: Vec<_> = built.stderr.lines().filter(|line| line.starts_with("note: ")).collect();
    assert_eq!(notes.len(), 5, "{notes:#?}");
    for flag in ["--compress", "--isolation", "--security-opt", "--builder"] {
        assert!(notes.iter().any(|note| note.contains(flag)), "{flag}: {notes:#?}");
    }
}
