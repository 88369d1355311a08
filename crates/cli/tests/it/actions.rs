//! Caches in the cache service of GitHub Actions.

use std::fs;

use bld_testkit::{ActionsCache, Cmd, Output, TestEnv};
use serde_json::Value;

use crate::share::{Farm, machine, ran};

/// How the service is found: by the words of a cache, or by what a job has around it.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    Older,
    Newer,
}

impl Protocol {
    /// A cache with all there is to say.
    fn words(self, service: &ActionsCache) -> String {
        let key = match self {
            Self::Older => "url",
            Self::Newer => "url_v2",
        };
        format!("type=gha,{key}={},token={},scope=team", service.url(), ActionsCache::token())
    }

    /// `build` as a part of a job.
    fn job(self, service: &ActionsCache, build: Cmd) -> Cmd {
        let build = build.env("ACTIONS_RUNTIME_TOKEN", ActionsCache::token());
        match self {
            Self::Older => build.env("ACTIONS_CACHE_URL", service.url()),
            Self::Newer => build
                .env("ACTIONS_RESULTS_URL", service.url())
                .env("ACTIONS_CACHE_SERVICE_V2", "true"),
        }
    }
}

fn build(env: &TestEnv, dockerfile: &str, arguments: &[&str]) -> Cmd {
    let build = env.bld(["build", "--progress=plain", "--network=none", "-t", "app:1", "-f-"]);
    build.args(arguments).arg("ctx").stdin(dockerfile.to_owned())
}

/// The files of the result.
fn files(env: &TestEnv) -> (String, String) {
    let read = |name: &str| fs::read_to_string(env.path("out").join(name)).unwrap();
    (read("one"), read("two"))
}

/// Nothing secret is shown, or kept in the store.
fn told_nobody(env: &TestEnv, outputs: &[&Output]) {
    for secret in [&ActionsCache::token(), "geheim", ActionsCache::SIGNATURE] {
        for output in outputs {
            assert!(!output.stderr.contains(secret) && !output.stdout.contains(secret), "{output}");
        }
        let found = Cmd::new("grep").args(["-rlaF", secret]).arg(env.root()).run();
        assert_eq!(found.stdout, "");
    }
}

const OUT: &str = "type=local,dest=out";

#[test]
fn jobs_share_a_cache_by_both_protocols() {
    let farm = Farm::new();
    for protocol in [Protocol::Older, Protocol::Newer] {
        let service = ActionsCache::start();
        let words = format!("{},mode=max", protocol.words(&service));
        let first = machine();
        let built = build(&first, &farm.dockerfile, &["--cache-to", &words, "-o", OUT]).ok();
        assert_eq!(ran(&built), 20, "{built}");
        let written = "exporting cache to GitHub Actions Cache";
        let built = built.expect_text(written);
        // The names are those of BuildKit: the document is that of the branch that may be written.
        let keys = service.keys();
        let (blobs, others): (Vec<_>, Vec<_>) =
            keys.iter().partition(|key| key.starts_with("buildkit-blob-1-sha256:"));
        let [index] = &others[..] else { panic!("{others:?}") };
        let branch = bld_oci::Digest::of(b"refs/heads/topic").hex();
        assert_eq!(**index, format!("index-team-1-{}#1", &branch[..8]));
        let document: Value = serde_json::from_slice(&service.entry(index).unwrap()).unwrap();
        let blob = document["layers"][0]["blob"].as_str().unwrap();
        assert!(blobs.contains(&&format!("buildkit-blob-1-{blob}")), "{blobs:?}");

        let second = machine();
        let from = ["--cache-from", "type=gha,scope=team"];
        let known = protocol.job(&service, build(&second, &farm.dockerfile, &from)).ok();
        assert_eq!(ran(&known), 0, "{known}");
        let storage = service.stored().iter().filter(|request| request.method == "GET").count();
        assert_eq!(storage, 1, "only the document was read");
        // The layers come when they are needed, also without another word of the cache.
        let brought = build(&second, &farm.dockerfile, &["-o", OUT]);
        let brought = protocol.job(&service, brought).ok();
        assert_eq!((ran(&brought), files(&second)), (0, files(&first)), "{brought}");
        let _ = second.bld(["system", "check"]).ok();

        // What is there is not sent again, and the newest document counts.
        let before = service.stored().len();
        let again = build(&first, &farm.dockerfile, &["--cache-to", &words]).ok();
        assert_eq!(
            service.stored().len() - before,
            usize::from(matches!(protocol, Protocol::Newer))
        );
        assert_eq!(service.keys().len(), keys.len() + 1);
        assert!(service.keys().last().unwrap().ends_with("#2"));
        for request in service.stored() {
            assert_eq!(request.header("authorization"), None, "{request:?}");
        }
        told_nobody(&first, &[&built, &again]);
        told_nobody(&second, &[&known, &brought]);
        second.assert_nothing_left();
    }
}

#[test]
fn what_a_service_does_wrong_costs_a_step_at_most() {
    let farm = Farm::new();
    let service = ActionsCache::start();
    let words = Protocol::Newer.words(&service);
    let to = format!("{words},mode=max");
    let first = machine();
    service.trouble(4);
    build(&first, &farm.dockerfile, &["--cache-to", &to, "-o", OUT]).ok();
    // Trouble that passes, and answers that break off.
    service.trouble(4);
    service.shake();
    let second = machine();
    let from = ["--cache-from", &words, "-o", OUT];
    let built = build(&second, &farm.dockerfile, &from).ok();
    assert_eq!((ran(&built), files(&second)), (0, files(&first)), "{built}");
    // Somebody has begun with the next document and died.
    let document = service.keys().into_iter().find(|key| key.ends_with("#1")).unwrap();
    let next = document.replace("#1", "#2");
    service.begin(&next, &document);
    build(&first, &farm.dockerfile, &["--cache-to", &to]).ok();
    assert_eq!(service.keys().last().unwrap(), &document.replace("#1", "#3"));
    // The service throws away what it likes.
    service.remove("buildkit-blob-1-");
    let third = machine();
    let built = build(&third, &farm.dockerfile, &from).ok();
    assert!(ran(&built) > 0, "{built}");
    let built = built.expect_text("cannot be had from gha://");
    assert_eq!(files(&third), files(&first));
    told_nobody(&third, &[&built]);
}

#[test]
fn a_large_layer_goes_to_a_service_in_parts() {
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let noise: Vec<u8> = noise.take(33 << 20).collect();
    for protocol in [Protocol::Older, Protocol::Newer] {
        let service = ActionsCache::start();
        let (first, second) = (machine(), machine());
        for machine in [&first, &second] {
            machine.write("ctx/noise", &noise);
        }
        let dockerfile = "FROM scratch\nCOPY noise /\n";
        let words = protocol.words(&service);
        build(&first, dockerfile, &["--cache-to", &words]).ok();
        let parts = match protocol {
            Protocol::Older => service.asked().iter().filter(|r| r.method == "PATCH").count(),
            Protocol::Newer => {
                service.stored().iter().filter(|r| r.is("PUT", "comp=block&")).count()
            }
        };
        assert!(parts >= 3, "{parts}");
        let built = build(&second, dockerfile, &["--cache-from", &words, "-o", OUT]).ok();
        assert_eq!(ran(&built), 0, "{built}");
        assert!(fs::read(second.path("out/noise")).unwrap() == noise);
    }
}

#[test]
fn a_service_is_used_where_there_is_one_and_says_who_it_does_not_know() {
    let farm = Farm::new();
    let own = machine();
    // As buildx has it: at home, the same command line works.
    let arguments = ["--cache-from", "type=gha", "--cache-to", "type=gha,mode=max"];
    let alone = build(&own, &farm.dockerfile, &arguments).ok();
    let _ = alone.expect_text("note: type=gha has no effect");
    let service = ActionsCache::start();
    let other = "e30.eyJhYyI6IltdIn0.other-secret";
    let stranger = format!("type=gha,url_v2={},token={other}", service.url());
    for (words, part) in [
        (stranger.replace(other, "other-secret"), "its token is none of a job"),
        (stranger.replace(other, "e30.eyJleHAiOjF9.other-secret"), "its token has expired"),
        (stranger.clone(), "who are you?"),
        (format!("{stranger},version=3"), "unknown version"),
        (format!("{stranger},nosuch=3"), "nosuch is not supported for type=gha"),
    ] {
        let refused = build(&own, &farm.dockerfile, &["--cache-to", &words]).run().expect_code(1);
        assert!(refused.stderr.contains(part), "{refused}");
        assert!(!refused.stderr.contains("other-secret"), "{refused}");
    }
    let words = format!("{stranger},ignore-error=true");
    build(&own, &farm.dockerfile, &["--cache-to", &words]).ok();
    let silent = format!("{},timeout=1ms", Protocol::Newer.words(&service));
    let late = build(&own, &farm.dockerfile, &["--cache-to", &silent]).run().expect_code(1);
    let _ = late.expect_text("it takes longer than 0.001 s");
}

#[test]
fn a_list_of_what_is_there_saves_questions() {
    let farm = Farm::new();
    let service = ActionsCache::start();
    let words = format!("{},mode=max", Protocol::Newer.words(&service));
    let own = machine();
    build(&own, &farm.dockerfile, &["--cache-to", &words]).ok();
    let entries: Vec<Value> = service
        .keys()
        .iter()
        .map(|key| serde_json::json!({ "key": key, "ref": "refs/heads/main" }))
        .collect();
    let count = entries.len();
    let api = bld_testkit::http::Server::new(move |_| {
        let page = serde_json::json!({ "total_count": count, "actions_caches": entries });
        bld_testkit::http::Reply::json(200, &page.to_string())
    });
    let before = service.asked().len();
    let words = format!("{words},repository=team/app,ghtoken=gh-secret");
    let again = build(&own, &farm.dockerfile, &["--cache-to", &words]);
    let again = again.env("GITHUB_API_URL", format!("http://{}", api.host())).ok();
    let [asked] = &api.log()[..] else { panic!("{:?}", api.log()) };
    let expected = "/repos/team/app/actions/caches?per_page=100&page=1&key=buildkit-blob-1-";
    assert_eq!(asked.target, expected);
    assert_eq!(asked.header("authorization"), Some("Bearer gh-secret"));
    // The document alone: where it is, its place, and that it is done.
    assert_eq!(service.asked().len() - before, 3);
    assert!(!again.stderr.contains("gh-secret"), "{again}");
}
