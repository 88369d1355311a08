//! What `bld build --explain` says of edits: the table of docs/why.md.
//!
//! Each edit is made to a project of its own that has just been built, and the project is built again.
//! What is then said of one step must be what the page says. With `BLD_UPDATE_DOCS` set, the table is
//! written into the page instead.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env as process, fs};

use bld_testkit::{Cmd, TestEnv};
use serde_json::Value;

use crate::env;

const DOCKERFILE: &str = "\
FROM base AS build
COPY src /src
RUN tr a-z A-Z < /src/word > /out && touch -d 2001-01-01 /out
FROM base
ENV MODE=debug
WORKDIR /app
COPY . /app
ARG VERSION=1
ARG API_TOKEN=none
RUN echo $VERSION
COPY --from=build /out /out
";

/// A project: its Dockerfile, its files and the flags it is built with.
struct Project<'e> {
    env: &'e TestEnv,
    dir: String,
    dockerfile: String,
    flags: Vec<&'static str>,
}

impl Project<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.env.path(format!("{}/{name}", self.dir))
    }

    fn write(&self, name: &str, content: &str) {
        self.env.write(&format!("{}/{name}", self.dir), content);
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        Cmd::new(program).args(arguments.iter().copied()).cwd(self.path("")).ok();
    }

    fn replace(&mut self, from: &str, to: &str) {
        assert!(self.dockerfile.contains(from), "no {from:?}");
        self.dockerfile = self.dockerfile.replace(from, to);
    }

    /// What is said of each step, in order: hit or miss, and the rest.
    fn build(&self) -> Vec<(String, String)> {
        let output = self
            .env
            .bld(["build", "--progress", "none", "--explain", "-o", "type=cacheonly", "-f", "-"])
            .args(self.flags.iter().copied())
            .arg(self.path(""))
            .stdin(self.dockerfile.as_str())
            .run()
            .expect_code(0);
        let said = output.stderr.lines().filter_map(|line| {
            let (_, rest) = line.split_once(' ')?;
            let (word, said) = rest.trim_start().split_once(' ')?;
            ["hit", "miss"].contains(&word).then(|| (word.to_owned(), said.trim().to_owned()))
        });
        said.collect()
    }
}

struct Edit {
    /// In words, for the page.
    what: &'static str,
    /// How the name of the step begins that the page shows, without its place.
    step: &'static str,
    make: fn(&mut Project<'_>),
}

const FILES: &str = "COPY . /app";
const RUN: &str = "RUN echo";

const fn edit(what: &'static str, step: &'static str, make: fn(&mut Project<'_>)) -> Edit {
    Edit { what, step, make }
}

const EDITS: [Edit; 44] = [
    edit("bytes of a file", FILES, |p| p.write("src/main.c", "int main() {}")),
    edit("mode of a file", FILES, |p| p.run("chmod", &["755", "src/main.c"])),
    edit("time of a file", FILES, |p| p.run("touch", &["-d", "2001-01-01", "src/main.c"])),
    edit("a file renamed", FILES, |p| p.run("mv", &["src/main.c", "src/start.c"])),
    edit("a directory renamed", FILES, |p| p.run("mv", &["lib", "library"])),
    edit("a file added", FILES, |p| p.write("src/more.c", "")),
    edit("a directory added", FILES, |p| {
        p.write("docs/a", "");
        p.write("docs/b", "");
    }),
    edit("a file removed", FILES, |p| p.run("rm", &["src/main.c"])),
    edit("target of a link", FILES, |p| p.run("ln", &["-sfn", "src/word", "link"])),
    edit("a file becomes a link", FILES, |p| p.run("ln", &["-sf", "word", "src/main.c"])),
    edit("a rule in .dockerignore", FILES, |p| p.write(".dockerignore", "*.md\n")),
    edit("many files", FILES, |p| {
        for name in ["a", "b", "c", "d", "e"] {
            p.write(&format!("src/{name}"), name);
        }
    }),
    edit("a bind-mounted file", "RUN --mount", |p| {
        p.replace("RUN echo $VERSION", "RUN --mount=target=/m,source=src cat /m/main.c");
        p.build();
        p.write("src/main.c", "2");
    }),
    edit("default of an ARG", RUN, |p| p.replace("VERSION=1", "VERSION=2")),
    edit("--build-arg", RUN, |p| p.flags = vec!["--build-arg", "VERSION=3"]),
    edit("an ARG that the command does not use", RUN, |p| {
        p.replace("RUN echo", "ARG NEW=1\nRUN echo");
    }),
    edit("an ARG below the step", RUN, |p| p.replace("COPY --from", "ARG NEW=1\nCOPY --from")),
    edit("an ARG with the name of a secret", RUN, |p| {
        p.flags = vec!["--build-arg", "API_TOKEN=hunter2"];
    }),
    edit("an ENV", RUN, |p| p.replace("MODE=debug", "MODE=release")),
    edit("an ENV removed", RUN, |p| p.replace("ENV MODE=debug\n", "")),
    edit("the base image", "WORKDIR", |p| p.replace("FROM base\n", "FROM base:next\n")),
    edit("a base image of the same name", "WORKDIR", |p| {
        p.replace("FROM base\n", "FROM moving\n");
        p.env.bld(["tag", "base:first", "moving"]).ok();
        p.build();
        p.env.bld(["tag", "base:third", "moving"]).ok();
    }),
    edit("a command", RUN, |p| p.replace("echo $VERSION", "echo v$VERSION")),
    edit("a here-document", "RUN <<EOF", |p| {
        p.replace("RUN echo $VERSION", "RUN <<EOF\necho one\necho two\nEOF");
        p.build();
        p.replace("echo two", "echo 2");
    }),
    edit("the text of a copied here-document", "COPY <<EOF", |p| {
        p.replace("RUN echo $VERSION", "COPY <<EOF /etc/conf\na=1\nb=2\nEOF");
        p.build();
        p.replace("b=2", "b=3");
    }),
    edit("a comment", RUN, |p| p.replace("RUN echo", "# What it is.\nRUN echo")),
    edit("a LABEL", RUN, |p| p.replace("ENV MODE", "LABEL a=b\nENV MODE")),
    edit("the name of a stage", "COPY --from", |p| {
        p.replace("AS build", "AS builder");
        p.replace("from=build", "from=builder");
    }),
    edit("order of two steps", "RUN true", |p| {
        p.replace("RUN echo", "RUN true\nRUN echo");
        p.build();
        p.replace("RUN true\n", "");
        p.replace("COPY --from", "RUN true\nCOPY --from");
    }),
    edit("a step put in", RUN, |p| p.replace("RUN echo", "RUN true\nRUN echo")),
    edit("a step taken out", RUN, |p| p.replace("COPY . /app\n", "")),
    edit("WORKDIR", RUN, |p| p.replace("WORKDIR /app", "WORKDIR /srv")),
    edit("USER", RUN, |p| p.replace("RUN echo", "USER 1000\nRUN echo")),
    edit("SHELL", RUN, |p| p.replace("RUN echo", "SHELL [\"/bin/ash\", \"-c\"]\nRUN echo")),
    edit("RUN --network", "RUN --network", |p| p.replace("RUN echo", "RUN --network=none echo")),
    edit("id of a cache mount", "RUN --mount", |p| {
        p.replace("RUN echo", "RUN --mount=type=cache,target=/c,id=one echo");
        p.build();
        p.replace("id=one", "id=two");
    }),
    edit("a secret", "RUN --mount", |p| {
        p.replace("RUN echo", "RUN --mount=type=secret,id=a,target=/s echo");
        p.build();
        p.replace("id=a,", "id=b,");
    }),
    edit("COPY --chown", "COPY --chown", |p| p.replace("COPY . /app", "COPY --chown=1:2 . /app")),
    edit("destination of a COPY", "COPY . /srv", |p| p.replace("COPY . /app", "COPY . /srv")),
    edit("--platform", "COPY . /", |p| {
        "FROM scratch\nCOPY . /\n".clone_into(&mut p.dockerfile);
        p.build();
        p.flags = vec!["--platform", "linux/arm64"];
    }),
    edit("a stage made anew to the same file", "COPY --from", |p| {
        p.replace("COPY . /app\n", "");
        p.build();
        p.write("src/word", "WORD");
    }),
    edit("a stage made anew to another file", "COPY --from", |p| {
        p.replace("COPY . /app\n", "");
        p.build();
        p.write("src/word", "other");
    }),
    edit("--no-cache", RUN, |p| p.flags = vec!["--no-cache"]),
    edit("a result that was pruned", RUN, |p| {
        p.env.bld(["builder", "prune", "--all", "--force"]).ok();
    }),
];

/// More base images, so that there is something to change to.
fn bases(env: &TestEnv) {
    env.bld(["tag", "busybox", "base"]).ok();
    for name in ["first", "next", "third"] {
        let dockerfile = format!("FROM busybox\nRUN echo {name} > /name\n");
        let _ = env.build(&format!("base:{name}"), &dockerfile, []).expect_code(0);
    }
}

fn project(env: &TestEnv, number: usize) -> Project<'_> {
    let project = Project {
        env,
        dir: format!("project-{number}"),
        dockerfile: DOCKERFILE.to_owned(),
        flags: Vec::new(),
    };
    project.write("src/main.c", "int main();");
    project.write("src/word", "word");
    // No project has a step that another has made.
    project.write("src/case", &number.to_string());
    project.write("notes.md", "");
    project.write("lib/a.c", "a");
    project.write("lib/b.c", "b");
    project.run("ln", &["-s", "src/main.c", "link"]);
    project
}

/// The base image is made of what is on this machine.
fn without_digests(text: &str) -> String {
    match text.split_once("@sha256:") {
        Some((before, rest)) => format!("{before}@sha256:...{}", without_digests(&rest[12..])),
        None => text.to_owned(),
    }
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/why.md")
}

#[test]
fn edits_are_explained_as_the_page_says() {
    let env = env();
    bases(&env);
    let mut table = "| edit | step | what bld says of it |\n|---|---|---|\n".to_owned();
    for (number, Edit { what, step, make }) in EDITS.iter().enumerate() {
        let mut project = project(&env, number);
        project.build();
        make(&mut project);
        let said = project.build();
        let shown = said.iter().find(|(_, said)| {
            said.split_once("] ").is_some_and(|(_, said)| said.starts_with(step))
        });
        let (word, said) = shown.unwrap_or_else(|| panic!("{what}: no {step:?} in {said:#?}"));
        let (_, said) = said.split_once("] ").unwrap();
        let (name, why) = said.split_once(": ").unwrap();
        let why = without_digests(why);
        let _infallible = writeln!(table, "| {what} | `{name}` | {word}: {why} |");
    }
    let page = page();
    let text = fs::read_to_string(&page).unwrap();
    let (start, end) = ("<!-- edits -->\n", "<!-- end of edits -->");
    let (before, rest) = text.split_once(start).unwrap();
    let (written, after) = rest.split_once(end).unwrap();
    if process::var_os("BLD_UPDATE_DOCS").is_some() {
        fs::write(&page, format!("{before}{start}{table}{end}{after}")).unwrap();
    } else {
        assert_eq!(written, table, "see BLD_UPDATE_DOCS in {}", file!());
    }
}

#[test]
fn programs_are_told_all_of_it() {
    let env = env();
    bases(&env);
    let project = project(&env, 0);
    project.build();
    for name in ["a", "b", "c", "d"] {
        project.write(&format!("src/{name}"), name);
    }
    let output = env
        .bld(["build", "--progress", "rawjson", "-f", "-", "-o", "type=cacheonly"])
        .arg(project.path(""))
        .stdin(project.dockerfile.as_str())
        .run()
        .expect_code(0);
    let vertexes: Vec<Value> = output
        .stderr
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|status| status["vertexes"].as_array().cloned())
        .flatten()
        .collect();
    let reason = |name: &str| {
        let of = |vertex: &&Value| vertex["name"].as_str().is_some_and(|n| n.contains(name));
        let told = vertexes.iter().filter(of).find(|vertex| !vertex["reason"].is_null());
        let told = told.unwrap_or_else(|| panic!("no reason for {name} in {output}"));
        (told["digest"].clone(), told["reason"].clone())
    };
    let (_, base) = reason("FROM ");
    assert_eq!((&base["result"], &base["kind"]), (&"hit".into(), &"definition".into()));
    let (files, copy) = reason("COPY . /app");
    assert_eq!((&copy["result"], &copy["kind"]), (&"miss".into(), &"changed".into()));
    assert_eq!(copy["text"], "src/a is new, src/b is new, and 2 more");
    assert_eq!(copy["changes"].as_array().unwrap().len(), 4);
    let (_, run) = reason("RUN echo");
    assert_eq!(run["kind"], "follows");
    assert_eq!(run["causes"], Value::from(vec![files]));
    let (_, copy) = reason("COPY --from");
    assert_eq!(copy["kind"], "follows");
    // The stage was made anew, and its file is the same: only what is below it is another.
    assert_eq!(copy["text"], "because [stage-1 3/5] COPY . /app changed");
}

#[test]
fn what_may_be_a_secret_is_not_said() {
    let env = env();
    bases(&env);
    let mut project = project(&env, 0);
    for secret in ["correct-horse", "battery-staple"] {
        project.dockerfile = DOCKERFILE.replace("API_TOKEN=none", &format!("API_TOKEN={secret}"));
        let said = format!("{:?}", project.build());
        assert!(!said.contains(secret), "{said}");
    }
}
