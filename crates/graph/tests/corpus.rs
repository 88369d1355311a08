//! Dockerfiles of real projects become graphs.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bld_graph::{Input, Plan, render};
use petgraph::Direction;
use petgraph::visit::EdgeRef as _;
use support::{Images, listed, options};

/// Dockerfiles that can't be built without a build argument, and what to give them.
const NEED_ARGS: &[(&str, &str, &str)] = &[
    ("integration/dockerfiles/Dockerfile_test_scratch", "image", "scratch"),
    ("cross/Dockerfile.gnu", "CROSS_BASE_IMAGE", "debian"),
    ("eng/docker-tools/Dockerfile.syft", "SYFT_IMAGE_NAME", "syft"),
    ("eng/docker-tools/Dockerfile.syft", "TARGET_IMAGE_NAME", "target"),
];

/// Every file below `dir`.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn real_dockerfiles_become_graphs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/dockerfiles");
    if !dir.exists() {
        #[expect(clippy::print_stderr, reason = "a test that tests less says so")]
        {
            eprintln!("not tested against real Dockerfiles: no corpus at {}", dir.display());
        }
        return;
    }
    let mut paths = Vec::new();
    files(&dir, &mut paths);
    assert!(paths.len() > 186, "only {} files", paths.len());
    let mut failures = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&dir).unwrap().display().to_string();
        if name == "index.json" {
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let parsed = bld_dockerfile::parse(&source);
        if !parsed.is_ok() {
            failures
                .push(format!("{name} does not parse\n{}", listed(&source, &parsed.diagnostics)));
            continue;
        }
        let mut options = options();
        for (_, arg, value) in NEED_ARGS.iter().filter(|(file, ..)| name.ends_with(file)) {
            options.build_args.insert((*arg).to_owned(), (*value).to_owned());
        }
        options.entitlements.security_insecure = true;
        options.entitlements.network_host = true;
        match bld_graph::lower(&parsed.dockerfile, &source, &options, &mut Images::any()) {
            Ok(plan) => check(&plan),
            Err(found) => failures.push(format!("{name}\n{}", listed(&source, &found))),
        }
    }
    assert!(failures.is_empty(), "{} files\n{}", failures.len(), failures.join("\n"));
}

/// What must be true of every plan.
fn check(plan: &Plan) {
    let graph = &plan.graph;
    for index in graph.node_indices() {
        let mut inputs = HashSet::new();
        for edge in graph.edges_directed(index, Direction::Incoming) {
            assert!(edge.source() < index, "a vertex comes behind its inputs");
            assert!(inputs.insert(*edge.weight()), "no input is there twice");
        }
        let numbered = inputs.iter().filter(|input| matches!(input, Input::From(_))).count();
        let complete = (0..numbered).all(|number| inputs.contains(&Input::From(number)));
        assert!(complete, "inputs are numbered without gaps");
        let consumed = graph.edges_directed(index, Direction::Outgoing).next().is_some();
        assert!(consumed || plan.root == Some(index), "everything is needed");
        assert!(!graph[index].name.is_empty());
    }
    let layers = plan.history.iter().filter(|step| step.vertex.is_some());
    assert!(layers.clone().all(|step| !step.entry.empty_layer));
    let entries = plan.config.history.len();
    assert!(entries >= plan.history.len());
    assert!(render::dot(plan).starts_with("digraph"));
    assert_eq!(render::json(plan)["vertices"].as_array().unwrap().len(), graph.node_count());
    assert!(render::text(plan).lines().count() >= graph.node_count());
}
