//! Many builds on one store at once: what they have in common is done once, and nothing else makes
//! one wait for another.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::Duration,
};

use bld_testkit::TestEnv;

use crate::env;

/// Notes every run in the cache mount `/c`, says `up`, and ends when there is a file `/c/go`. It
/// gives up after a while, for then something is wrong.
const SLOW: &str = "RUN --mount=type=cache,target=/c echo >> /c/runs; echo up; n=0; \
                    until [ -e /c/go ] || [ $n = 1200 ]; do sleep 0.05; n=$((n+1)); done; \
                    [ $n -lt 1200 ] || exit 99; echo down";

/// A build that is running.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) dir: PathBuf,
}

impl Running {
    pub(crate) fn start(env: &TestEnv, name: &str, dockerfile: &str) -> Self {
        env.write(&format!("{name}/Dockerfile"), dockerfile);
        let dir = env.path(format!("{name}.out"));
        fs::create_dir(&dir).unwrap();
        let build = env.bld(["build", "--progress", "plain", "-t", &format!("{name}:1"), name]);
        Self { child: build.spawn(&dir), dir }
    }

    fn text(&self) -> String {
        let read = |name| fs::read_to_string(self.dir.join(name)).unwrap();
        read("stdout") + &read("stderr")
    }

    /// Waits until it has said `text`.
    pub(crate) fn expect(&self, text: &str) {
        wait_until(&format!("it says {text:?}"), || self.text().contains(text));
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for its end; what it has said if it ended well.
    pub(crate) fn end(mut self) -> Result<String, String> {
        let status = self.child.wait().unwrap();
        if status.success() { Ok(self.text()) } else { Err(self.text()) }
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("waited for too long: {what}");
}

/// The file `name` in the one cache mount of the store.
pub(crate) fn cached(env: &TestEnv, name: &str) -> PathBuf {
    let find = |dir: &Path| {
        let entries = fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).last()
    };
    find(&env.root().join("cachemounts")).unwrap().join(name)
}

fn runs(env: &TestEnv) -> usize {
    fs::read_to_string(cached(env, "runs")).unwrap().lines().count()
}

#[test]
fn a_step_of_two_builds_runs_once_and_both_show_it_live() {
    let env = env();
    let first = Running::start(&env, "a", &format!("FROM busybox\n{SLOW}\nRUN echo a\n"));
    first.expect(" up\n");
    let second = Running::start(
        &env,
        "b",
        &format!("FROM busybox AS x\nENV B=1\nFROM busybox\n{SLOW}\nRUN echo b\n"),
    );
    second.expect("another build is running this step");
    second.expect(" up\n");
    fs::write(cached(&env, "go"), "").unwrap();
    let (first, second) = (first.end().unwrap(), second.end().unwrap());
    assert!(first.contains(" down\n") && second.contains(" down\n"), "{first}\n{second}");
    assert_eq!(runs(&env), 1);
}

#[test]
fn who_waits_takes_over_from_a_build_that_is_killed() {
    let env = env();
    let dockerfile = format!("FROM busybox\n{SLOW}\n");
    let first = Running::start(&env, "a", &dockerfile);
    first.expect(" up\n");
    let second = Running::start(&env, "b", &dockerfile);
    second.expect("another build is running this step");
    first.signal("KILL");
    second.expect("running it here");
    wait_until("it runs again", || runs(&env) == 2);
    fs::write(cached(&env, "go"), "").unwrap();
    assert!(first.end().is_err());
    second.end().unwrap();
}

#[test]
fn who_waits_can_be_interrupted_and_the_first_one_goes_on() {
    let env = env();
    let dockerfile = format!("FROM busybox\n{SLOW}\n");
    let first = Running::start(&env, "a", &dockerfile);
    first.expect(" up\n");
    let second = Running::start(&env, "b", &dockerfile);
    second.expect("another build is running this step");
    second.signal("INT");
    assert!(second.end().is_err());
    fs::write(cached(&env, "go"), "").unwrap();
    first.end().unwrap();
    assert_eq!(runs(&env), 1);
}

#[test]
fn sixteen_builds_of_different_things_run_at_the_same_time() {
    const BUILDS: usize = 16;
    let env = env();
    // Each of them can only end when all are there.
    let meet = "--mount=type=cache,target=/c touch /c/$(cat /n) && n=0; \
                until [ $(ls /c | wc -l) = 16 ] || [ $n = 1200 ]; do sleep 0.05; n=$((n+1)); done; \
                [ $n -lt 1200 ]";
    let builds: Vec<_> = (0..BUILDS)
        .map(|n| {
            let name = format!("build{n}");
            env.write(&format!("{name}/file"), format!("{n}\n"));
            let dockerfile = format!(
                "FROM busybox\nCOPY file /n\nRUN {meet}\nRUN cp /n /made && head -c 100000 /dev/urandom > /data\n"
            );
            Running::start(&env, &name, &dockerfile)
        })
        .collect();
    for build in builds {
        build.end().unwrap();
    }
    for n in 0..BUILDS {
        let made =
            env.bld(["run", "--rm", "--network", "none", &format!("build{n}:1"), "cat", "/made"]);
        assert_eq!(made.ok().text(), n.to_string());
    }
    assert!(env.bld(["system", "check"]).ok().stdout.contains("sound"));
}
