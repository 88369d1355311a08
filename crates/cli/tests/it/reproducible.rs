//! The same bytes every time: in other stores and directories, with other numbers of jobs, umasks and
//! time zones.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bld_testkit::{Cmd, Output, TestEnv};
use serde_json::Value;

use crate::env;
use crate::interop::{HELLO, debian};

/// One of two places that have nothing in common.
struct Place {
    env: TestEnv,
    /// Where contexts are, relative to the working directory.
    dir: &'static str,
    umask: &'static str,
    zone: &'static str,
    jobs: &'static str,
}

fn places(make: fn() -> TestEnv) -> [Place; 2] {
    let (umask, zone) = ("022", "UTC");
    let other = ("077", "Pacific/Kiritimati");
    [
        Place { env: make(), dir: "here", umask, zone, jobs: "-j1" },
        Place { env: make(), dir: "some/where/else", umask: other.0, zone: other.1, jobs: "-j4" },
    ]
}

impl Place {
    fn path(&self, relative: &str) -> PathBuf {
        self.env.path(format!("{}/{relative}", self.dir))
    }

    /// `bld` with the surroundings of this place.
    fn bld(&self, arguments: &[&str]) -> Cmd {
        let line = format!("umask {} && exec \"$0\" \"$@\"", self.umask);
        let command = Cmd::new("sh").arg("-c").arg(line).arg(crate::BLD).args(arguments);
        command
            .cwd(self.env.path(""))
            .env("BLD_ROOT", self.env.root())
            .env("HOME", self.env.home())
            .env("TZ", self.zone)
            .env_remove("BLD_CONFIG")
            .env_remove("BUILDKIT_PROGRESS")
            .env_remove("SOURCE_DATE_EPOCH")
            .timeout(Duration::from_mins(10))
    }

    /// Builds the context `name`; the digest of the image's manifest.
    fn build(&self, name: &str, arguments: &[&str]) -> Result<String, Output> {
        let metadata = self.env.path("metadata.json");
        let file = metadata.display().to_string();
        let output = "type=oci,dest=/dev/null";
        let given = ["build", "--progress", "plain", "--reproducible", self.jobs, "-o", output];
        let given = given.into_iter().chain(["--metadata-file", &file]);
        let all: Vec<&str> = given.chain(arguments.iter().copied()).collect();
        let built = self.bld(&all).arg(self.path(name)).run();
        if built.code != 0 {
            return Err(built);
        }
        let metadata: Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
        Ok(metadata["containerimage.digest"].as_str().unwrap().to_owned())
    }

    fn write(&self, name: &str, file: &str, contents: &[u8]) {
        self.env.write(&format!("{}/{name}/{file}", self.dir), contents);
    }
}

/// Cases that are compared; all of them would take long.
const MOST: usize = 50;

/// Writes the context of a case of `testdata/behaviour`, if it has nothing but files.
fn write_case(place: &Place, name: &str, case: &Value) -> Option<()> {
    place.write(name, "Dockerfile", case["dockerfile"].as_str()?.as_bytes());
    for (path, contents) in case["context_files"].as_object().into_iter().flatten() {
        place.write(name, path, contents.as_str()?.as_bytes());
    }
    Some(())
}

#[test]
fn the_cases_of_behaviour_are_reproducible() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/behaviour/cases.json");
    let cases: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    let places = places(env);
    let mut compared = 0;
    for case in cases["cases"].as_array().unwrap() {
        // What is random on purpose shows what a cache does.
        let has = |key: &str| case.get(key).is_some_and(|value| !value.is_null());
        let is_plain = case["expect"]["exit"] == 0
            && case["area"] != "cache"
            && !["flags", "secrets", "then", "target"].into_iter().any(has)
            && !case["dockerfile"].as_str().unwrap().contains("random");
        let name = case["id"].as_str().unwrap();
        if !is_plain || !places.iter().all(|place| write_case(place, name, case).is_some()) {
            continue;
        }
        let args: Vec<String> = case["build_args"]
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(key, value)| {
                ["--build-arg".to_owned(), format!("{key}={}", value.as_str().unwrap())]
            })
            .collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let [one, other] = [0, 1].map(|n| places[n].build(name, &args));
        let digests =
            (one.unwrap_or_else(|o| panic!("{o}")), other.unwrap_or_else(|o| panic!("{o}")));
        assert_eq!(digests.0, digests.1, "{name}");
        compared += 1;
        if compared == MOST {
            break;
        }
    }
    assert!(compared >= 20, "only {compared} cases");
}

#[test]
fn a_debian_with_packages_is_reproducible() {
    let registry = debian();
    let dockerfile = format!(
        "FROM {}/debian:1 AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \\
 && apt-get clean && rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/ldconfig/aux-cache /var/cache/debconf/*-old
WORKDIR /src
COPY hello.c .
RUN gcc -O2 -static -o /hello hello.c

FROM busybox
COPY --from=build /hello /usr/bin/hello
USER daemon
ENTRYPOINT [\"/usr/bin/hello\"]
CMD [\"world\"]
",
        registry.host()
    );
    let places = places(env);
    for place in &places {
        place.write("debian", "Dockerfile", dockerfile.as_bytes());
        place.write("debian", "hello.c", HELLO.as_bytes());
    }
    let build = |place: &Place| {
        ["build", ""].map(|target| {
            place.build("debian", &["--target", target]).unwrap_or_else(|output| panic!("{output}"))
        })
    };
    let (one, other) = std::thread::scope(|scope| {
        let other = scope.spawn(|| build(&places[1]));
        (build(&places[0]), other.join().unwrap())
    });
    assert_eq!(one, other);
}

const SAME: &str = "FROM busybox\nRUN echo same > /same && mkdir /d\nCOPY f /f\n";

/// What a layer begins with is not hashed again when files behind it change. The digests are those
/// that a store which knows nothing finds.
#[test]
fn layers_that_begin_alike_have_the_digests_of_first_builds() {
    let here = env();
    for index in 0..40_u8 {
        here.write(&format!("files/f{index:02}"), "x".repeat((1 << 20) + usize::from(index)));
    }
    here.write("Dockerfile", "FROM scratch\nCOPY files /files\n");
    let id = |env: &TestEnv| {
        let build = env.bld(["build", "-q", "--reproducible", "."]);
        build.cwd(here.path("")).ok().text().to_owned()
    };
    let mut seen = vec![id(&here)];
    for name in ["f39", "f20", "f20", "f00", "f38"] {
        here.write(&format!("files/{name}"), format!("{name} {}", seen.len()));
        seen.push(id(&here));
        assert_eq!(seen.last(), Some(&id(&env())), "{name}");
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 6);
}

#[test]
fn builds_are_verified() {
    let env = env();
    env.write("ctx/f", "f\n");
    let verify = |dockerfile: &str, arguments: &[&str]| {
        env.build("v:1", dockerfile, ["--verify"].into_iter().chain(arguments.iter().copied()))
    };
    let same = verify(SAME, &["--reproducible"]).expect_code(0);
    let id = env.bld(["images", "-q", "--no-trunc", "v:1"]).ok().text().to_owned();
    let _ = same.expect_text(&format!("made the same {id}"));
    // Of local files, too, and where nothing fixes the times.
    let out = format!("type=local,dest={}", env.path("out").display());
    let times = verify(SAME, &["-o", &out]).expect_code(0);
    let _ = times.expect_text("the same but for times").expect_text("--reproducible fixes them");

    let random = "FROM busybox\nRUN mkdir /d && cat /proc/sys/kernel/random/uuid > /d/id\nRUN echo same > /e\n";
    for arguments in [&[][..], &["--reproducible"]] {
        let differs = verify(random, arguments).expect_code(1);
        let _ = differs
            .expect_text("not reproducible: a second build made another image")
            .expect_text("C /d/id (")
            .expect_text("+++ b/d/id");
    }
    let both = ["--platform", "linux/amd64,linux/arm64"];
    let same = verify("FROM scratch\nCOPY f /f\n", &both).expect_code(0);
    let _ = same.expect_text("a second build in a fresh store");
    let failed = env.bld(["build", "--verify", "-"]).stdin(Vec::new()).run();
    assert_ne!(failed.code, 0);
    env.assert_nothing_left();
}
