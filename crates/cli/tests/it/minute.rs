//! A minute in which twenty containers are killed again and again.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bld_testkit::{Cmd, TestEnv};

use crate::env;

/// How many are killed, for how long, and what lies between two kills.
const CONTAINERS: usize = 20;
const TIME: Duration = Duration::from_mins(1);
const PACE: Duration = Duration::from_millis(250);

/// The beginning of the addresses of their network, and of the names of its links: an address in digits.
const NET: &str = "10.214.77.";
const LINKS: &str = "bldv0ad64d";

/// Who is killed over and over waits longer each time before it is back.
const PATIENCE: Duration = Duration::from_mins(2);

fn field(env: &TestEnv, name: &str, path: &str) -> String {
    env.bld(["inspect", "-f", &format!("{{{{{path}}}}}"), name]).ok().text().to_owned()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} never came");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The control groups whose names have to do with `id`.
fn groups(id: &str) -> Vec<PathBuf> {
    fn look(directory: &Path, id: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(id) {
                    found.push(entry.path());
                }
                look(&entry.path(), id, found);
            }
        }
    }
    let mut found = Vec::new();
    look(Path::new("/sys/fs/cgroup"), id, &mut found);
    found
}

/// What the machine knows of the network: links, addresses, routes and rules.
fn of_the_network() -> Vec<String> {
    let said = |words: &[&str]| Cmd::new(words[0]).args(&words[1..]).ok().stdout;
    let all = [
        said(&["ip", "-o", "link"]),
        said(&["ip", "-o", "addr"]),
        said(&["ip", "route", "show", "table", "all"]),
        said(&["nft", "list", "ruleset"]),
    ];
    let ours = |line: &&str| line.contains(NET) || line.contains(LINKS);
    all.iter().flat_map(|text| text.lines()).filter(ours).map(str::to_owned).collect()
}

/// Each is started again as often as it was killed, each start is in its log, how it ended is told right, and
/// nothing of them stays on the machine.
#[test]
fn twenty_containers_are_killed_at_random_for_a_minute() {
    let env = env();
    env.bld(["network", "create", "--subnet", &format!("{NET}0/24"), "ours"]).ok();
    let names: Vec<_> = (0..CONTAINERS).map(|n| format!("c{n}")).collect();
    let mut ids = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let policy = ["always", "unless-stopped", "on-failure"][n % 3];
        let run = ["run", "-d", "--restart", policy, "--name", name, "--network", "ours"];
        let run = env.bld(run).args(["-p", "127.0.0.1::7000", "-v", "/data", "-m", "64m"]);
        let script = "echo begun; echo problem >&2; exec sleep 1000";
        ids.push(run.args(["busybox", "sh", "-c", script]).ok().text().to_owned());
    }
    assert!(ids.iter().all(|id| !groups(id).is_empty()) && !of_the_network().is_empty());

    let mut kills = vec![0_u64; names.len()];
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let end = Instant::now() + TIME;
    while Instant::now() < end {
        // A linear congruential generator is random enough to kill by.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let n = (random >> 33) as usize % names.len();
        let state = field(&env, &names[n], ".State.Status}} {{.State.Pid");
        let Some(pid) = state.strip_prefix("running ") else { continue };
        kills[n] += u64::from(Cmd::new("kill").args(["-9", pid]).run().code == 0);
        // Otherwise the same process may be killed, and counted, twice.
        let count = kills[n].to_string();
        until("its restart", || field(&env, &names[n], ".RestartCount") == count);
        std::thread::sleep(PACE);
    }
    assert!(kills.iter().all(|kills| *kills > 0), "{kills:?}");

    for (name, kills) in names.iter().zip(&kills) {
        until("its start", || field(&env, name, ".State.Status") == "running");
        assert_eq!(field(&env, name, ".RestartCount"), kills.to_string(), "{name}");
        let begun = "begun\n".repeat(usize::try_from(*kills).unwrap() + 1);
        let problem = begun.replace("begun", "problem");
        until("its log", || {
            let log = env.bld(["logs", name]).ok();
            log.stdout == begun && log.stderr == problem
        });
        assert_eq!(env.bld(["exec", name, "echo", "alive"]).ok().text(), "alive");
    }
    env.bld(["stop", "-t", "0"]).args(&names).ok();
    for name in &names {
        assert_eq!(field(&env, name, ".State.Status}} {{.State.ExitCode"), "exited 137");
    }
    env.bld(["rm", "-v"]).args(&names).ok();
    env.bld(["network", "rm", "ours"]).ok();
    env.assert_nothing_left();
    assert_eq!(env.bld(["volume", "ls", "-q"]).ok().text(), "");
    until("the end of their groups", || ids.iter().all(|id| groups(id).is_empty()));
    until("the end of their network", || of_the_network().is_empty());
}
