//! Docker itself beside bld: the same commands on both, and the same answers.

use std::fmt::Write as _;

use bld_testkit::{Cmd, Docker, TestEnv, rootfs};

use crate::{BLD, env};

/// The commands, as a list to read.
const COMMANDS: &str = include_str!("../../../../testdata/peer/commands.txt");

/// One of the two engines, in a directory with a program `docker` that stands for it.
struct Engine<'a> {
    env: &'a TestEnv,
    name: &'static str,
    /// The beginning of the addresses that its networks may take.
    net: &'static str,
}

/// What a command has done, without what differs each time.
#[derive(PartialEq, Eq)]
struct Seen {
    code: i32,
    stdout: String,
    stderr: String,
}

impl<'a> Engine<'a> {
    fn new(env: &'a TestEnv, name: &'static str, net: &'static str, exec: &str) -> Self {
        env.write_script(&format!("{name}/bin/docker"), &format!("#!/bin/sh\n{exec} \"$@\"\n"));
        env.write(&format!("{name}/work/file"), "of the host\n");
        Self { env, name, net }
    }

    fn run(&self, line: &str) -> Seen {
        let here = self.env.path(self.name);
        let ran = Cmd::new("sh")
            .args(["-c", &format!("PATH=\"{}:$PATH\"\n{line}", here.join("bin").display())])
            .cwd(here.join("work"))
            .env("NET", self.net)
            .env("HOME", self.env.home())
            .env_remove("NOTSET")
            .run();
        Seen {
            code: ran.code,
            stdout: self.plain(&ran.stdout),
            stderr: self.complaint(&ran.stderr),
        }
    }

    /// Ids, the engine's name and its networks are not compared.
    fn plain(&self, text: &str) -> String {
        let text = text.replace(self.net, "NET").replace("bld", "docker");
        let mut plain = String::new();
        for line in text.lines() {
            let words = line.trim_end().split_inclusive(|c: char| !c.is_ascii_alphanumeric());
            for word in words {
                let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
                let is_id = matches!(bare.len(), 12 | 64)
                    && bare.bytes().all(|byte| byte.is_ascii_hexdigit());
                plain.push_str(if is_id { "ID" } else { bare });
                plain.push_str(&word[bare.len()..]);
            }
            plain.push('\n');
        }
        plain
    }

    /// Of an error, what it says, without who says it and how it goes on; a script looks for no more.
    fn complaint(&self, text: &str) -> String {
        const LEFT_OUT: [&str; 6] =
            ["hint: ", "Run '", "See '", "Error: failed to ", "exit status ", "time="];
        const PREFIXES: [&str; 3] = ["docker: ", "Error response from daemon: ", "Error: "];
        let lines = self.plain(text);
        let lines = lines.lines().filter(|line| {
            !line.is_empty() && !LEFT_OUT.iter().any(|prefix| line.starts_with(prefix))
        });
        let said = lines.map(|mut line| {
            for prefix in PREFIXES {
                line = line.strip_prefix(prefix).unwrap_or(line);
            }
            line.to_lowercase().replace("; ", ". ").trim_end_matches('.').to_owned() + "\n"
        });
        said.collect()
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that is passed over says so")]
fn docker_and_bld_answer_alike() {
    if !Docker::is_installed() {
        return eprintln!("skipped: this machine has no dockerd (package docker.io)");
    }
    let docker = Docker::start().unwrap_or_else(|why| panic!("dockerd does not start: {why}"));
    let env = env();
    let theirs = format!("exec env DOCKER_HOST={} {}", docker.host(), which("docker"));
    let ours = format!("exec env BLD_ROOT={} {BLD}", env.root().display());
    let docker = Engine::new(&env, "theirs", "10.213.7", &theirs);
    let bld = Engine::new(&env, "ours", "10.213.8", &ours);
    let archive = env.write("box.tar", rootfs::busybox().unwrap());
    let import = format!("docker import -c 'CMD [\"sh\"]' {} box", archive.display());
    for engine in [&docker, &bld] {
        let imported = engine.run(&import);
        assert_eq!(imported.code, 0, "{}", imported.stderr);
    }
    let mut different = String::new();
    let mut count = 0;
    for line in COMMANDS.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            for engine in [&docker, &bld] {
                engine.run("docker rm -fv $(docker ps -aq)");
            }
            continue;
        }
        count += 1;
        let (theirs, ours) = (docker.run(line), bld.run(line));
        if theirs != ours {
            let _ = writeln!(different, "{line}\n  docker: {theirs}\n  bld:    {ours}");
        }
    }
    assert!(different.is_empty(), "{different}");
    assert!(count >= 60, "only {count} commands");
    bld.run("docker rm -fv $(docker ps -aq)");
    env.assert_nothing_left();
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {:?}", self.code, self.stdout, self.stderr)
    }
}

/// Where a program is, which a script of the same name would hide.
fn which(program: &str) -> String {
    Cmd::new("sh").args(["-c", &format!("command -v {program}")]).ok().text().to_owned()
}
