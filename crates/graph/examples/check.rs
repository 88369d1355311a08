//! Checks Dockerfiles with base images made up, and says how many findings there are and how long it
//! takes to parse and lower the last file: the median of several times, in microseconds.
//!
//! `cargo run -p bld-graph --example check -- FILE...`

use std::time::Instant;

use bld_graph::{
    ImageRequest, LowerOptions, NamedContext, Op, ResolveError, ResolvedImage, Resolver,
};
use bld_oci::{Digest, ImageConfig, Platform};

/// How often the last file is parsed and lowered.
const ROUNDS: usize = 9;

/// Knows every image.
struct MadeUp;

impl Resolver for MadeUp {
    fn image(&mut self, request: &ImageRequest) -> Result<ResolvedImage, ResolveError> {
        let digest = Some(Digest::of(request.reference.familiar().as_bytes()));
        let config = ImageConfig::for_platform(&request.platform);
        Ok(ResolvedImage { reference: request.reference.clone(), digest, manifest: digest, config })
    }

    fn time(&mut self, _: &Op) -> Result<Option<i64>, ResolveError> {
        Ok(None)
    }

    fn context(&mut self, _: &str, _: &Platform) -> Result<Option<NamedContext>, ResolveError> {
        Ok(None)
    }
}

#[expect(clippy::print_stdout, reason = "a program")]
fn main() -> std::io::Result<()> {
    let options = LowerOptions::new(Platform::host());
    let (mut findings, mut last) = (0, String::new());
    for path in std::env::args_os().skip(1) {
        let source = std::fs::read_to_string(path)?;
        let parsed = bld_dockerfile::parse(&source);
        let found = bld_graph::check(&parsed.dockerfile, &source, &options, &mut MadeUp);
        findings += parsed.diagnostics.len() + found.len();
        last = source;
    }
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let parsed = bld_dockerfile::parse(&last);
            let plan = bld_graph::lower(&parsed.dockerfile, &last, &options, &mut MadeUp);
            let time = start.elapsed();
            drop(plan);
            time
        })
        .collect();
    times.sort_unstable();
    println!("{findings} findings");
    println!("{}", times[ROUNDS / 2].as_micros());
    Ok(())
}
