//! docs/errors.md: what is said to wrong Dockerfiles, by us and by a peer.
//!
//! The page holds the files and the answers. Every file is built; the answer must be what the page
//! says. With `BLD_UPDATE_DOCS` set, the answers are written into the page instead. Buildah's are
//! compared where it is installed in the version the page names.

use std::path::{Path, PathBuf};
use std::{env as process, fs};

use bld_testkit::{Cmd, TestEnv, peer};

use crate::env;

const MISTAKES: usize = 20;

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md")
}

/// One mistake of the page.
struct Mistake<'p> {
    title: &'p str,
    dockerfile: &'p str,
    /// What is said: by us, by the peer.
    answers: [&'p str; 2],
}

/// The text between two fences behind `start`, and what follows it.
fn fenced<'p>(text: &'p str, start: &str) -> (&'p str, &'p str) {
    let (_, text) = text.split_once(start).unwrap_or_else(|| panic!("no {start:?} in {text}"));
    text.split_once("```").unwrap_or_else(|| panic!("{start:?} is not closed"))
}

fn mistakes(page: &str) -> Vec<Mistake<'_>> {
    let sections = page.split("\n## ").skip(1);
    let mistake = |section| {
        let (dockerfile, rest) = fenced(section, "```dockerfile\n");
        let (own, rest) = fenced(rest, "\nbld:\n\n```text\n");
        let (peers, _) = fenced(rest, "\nBuildah:\n\n```text\n");
        let title = section.lines().next().unwrap_or_default();
        Mistake { title, dockerfile, answers: [own, peers] }
    };
    sections.map(mistake).collect()
}

/// Puts dots in place of what differs from run to run.
fn steady(env: &TestEnv, text: &str) -> String {
    let root = env.path("").parent().unwrap().display().to_string();
    let mut lines = Vec::new();
    for line in text.replace(&root, "...").lines() {
        if line.starts_with("goroutine ") {
            lines.push("...".to_owned()); // addresses from here on
            break;
        }
        let line = line.trim_end();
        let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
        for word in &mut words {
            // Seconds before a line of output.
            if word.len() == 5 && word.as_bytes()[1] == b'.' && word.parse::<f32>().is_ok() {
                "...".clone_into(word);
            }
            if let Some((before, address)) = word.split_once("0x") {
                let rest = address.trim_start_matches(|c: char| c.is_ascii_hexdigit());
                *word = format!("{before}0x...{rest}");
            }
            let plain = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            if plain.len() > 9 && plain.chars().all(|c| c.is_ascii_hexdigit()) {
                *word = word.replace(plain, "...");
            }
        }
        let mut line = words.join(" ");
        for beginning in ["full log: ", "failed to resolve "] {
            if let Some(at) = line.find(beginning) {
                line.truncate(at + beginning.len());
                line.push_str("...");
            }
        }
        lines.push(line);
    }
    let progress = |line: &&String| !line.starts_with('#') && !line.starts_with("time=");
    let mut text =
        lines.iter().filter(progress).fold(String::new(), |text, line| text + line + "\n");
    while text.contains("\n\n\n") {
        text = text.replace("\n\n\n", "\n\n");
    }
    match text.trim_matches('\n') {
        "" => "(nothing)\n".to_owned(),
        text => format!("{text}\n"),
    }
}

fn context(env: &TestEnv) {
    env.write("ctx/main.py", "");
    env.write("ctx/requirements.txt", "");
    env.write("ctx/logs/debug.log", "");
    env.write("ctx/.dockerignore", "# logs\n**/*.log\n");
}

/// What we say.
fn own(env: &TestEnv, dockerfile: &str) -> String {
    env.write("ctx/Dockerfile", dockerfile);
    let output = env.bld(["build", "--progress=plain", "-t", "wrong:1", "ctx"]).run();
    steady(env, &output.stderr)
}

/// The version of the peer installed here.
fn buildah() -> Option<String> {
    let output = std::process::Command::new("buildah").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split(' ').nth(2).map(str::to_owned)
}

/// What the peer says, with a store of its own that holds the same base image.
fn peers(env: &TestEnv, dockerfile: &str) -> String {
    env.write("ctx/Dockerfile", dockerfile);
    let place = env.path("buildah");
    let command = |words: &[&str]| {
        let mut command = peer("buildah");
        command.arg("--root").arg(place.join("root")).arg("--runroot").arg(place.join("run"));
        command.args(words);
        Cmd::from(command).cwd(env.path("")).run()
    };
    if !place.exists() {
        let archive = env.path("").parent().unwrap().join("busybox.tar");
        let pulled = command(&["pull", &format!("oci-archive:{}", archive.display())]);
        let id = pulled.expect_code(0).stdout;
        let _ = command(&["tag", id.trim(), "docker.io/library/busybox:latest"]).expect_code(0);
    }
    let output =
        command(&["build", "--quiet", "--pull-never", "--network", "none", "-t", "wrong:1", "ctx"]);
    let _ = command(&["rm", "--all"]);
    steady(env, &output.stderr)
}

#[test]
fn wrong_files_are_answered_as_the_page_says() {
    let page = page();
    let text = fs::read_to_string(&page).unwrap();
    let mistakes = mistakes(&text);
    assert_eq!(mistakes.len(), MISTAKES);
    let update = process::var_os("BLD_UPDATE_DOCS").is_some();
    let version = buildah();
    let compare_peer =
        version.as_ref().is_some_and(|version| text.contains(&format!("Buildah {version}")));
    let env = env();
    context(&env);
    let mut renewed = text.clone();
    let mut failures = Vec::new();
    for mistake in &mistakes {
        let mut said = vec![(mistake.answers[0], own(&env, mistake.dockerfile))];
        if compare_peer {
            said.push((mistake.answers[1], peers(&env, mistake.dockerfile)));
        }
        for (written, said) in said {
            if written != said {
                failures.push(format!("{}\nwritten:\n{written}\nsaid:\n{said}", mistake.title));
                let at = written.as_ptr() as usize - text.as_ptr() as usize;
                // What comes behind keeps its distance from the end.
                let from = renewed.len() - (text.len() - at);
                renewed.replace_range(from..from + written.len(), &said);
            }
        }
    }
    if update {
        fs::write(&page, renewed).unwrap();
    } else {
        assert!(
            failures.is_empty(),
            "see BLD_UPDATE_DOCS in {}\n\n{}",
            file!(),
            failures.join("\n\n")
        );
    }
}
