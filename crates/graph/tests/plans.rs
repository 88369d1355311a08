//! Whole plans: operations, names, history, configuration.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use std::fmt::Write as _;

use bld_graph::{LowerOptions, NoCache, Plan, render};
use bld_oci::{ImageConfig, Platform};
use serde_json::json;
use support::{Images, amd64, history, lower_with, options};

/// Everything a plan says, in a form that can be read.
fn told(source: &str, plan: &Plan) -> String {
    let mut out = format!("{}\n{}\n", source.trim_end(), "-".repeat(40));
    out.push_str(&render::text(plan));
    out.push_str("\noperations\n");
    for (number, vertex) in plan.graph.node_weights().enumerate() {
        let op = serde_json::to_string(&vertex.op).unwrap();
        writeln!(out, "#{} {op}", number + 1).unwrap();
    }
    out.push_str("\nhistory\n");
    for line in history(plan) {
        writeln!(out, "{line}").unwrap();
    }
    let mut config = plan.config.clone();
    config.history.clear();
    config.rootfs.diff_ids.clear();
    let config: serde_json::Value = serde_json::from_slice(&config.to_bytes()).unwrap();
    writeln!(out, "\n{}", serde_json::to_string_pretty(&config).unwrap()).unwrap();
    for warning in &plan.warnings {
        write!(out, "\nwarning: {}", warning.message).unwrap();
    }
    out
}

fn snapshot(name: &str, source: &str, options: &LowerOptions, mut images: Images) {
    match lower_with(source, options, &mut images) {
        Ok(plan) => insta::assert_snapshot!(name, told(source, &plan)),
        Err(errors) => panic!("{name}\n{}", support::listed(source, &errors)),
    }
}

#[test]
fn metadata() {
    let source = r#"FROM scratch
ENV A=1 B="two words"
ENV A=3 C=$A
LABEL b=$B a=x
LABEL a=y
EXPOSE 5000 1234/UDP 80-81
USER 7:8
VOLUME /v /v2
VOLUME ["/w x"]
STOPSIGNAL SIGRTMIN+3
SHELL ["/bin/bash", "-ec"]
CMD run me
ENTRYPOINT ["/e", "a\tb"]
HEALTHCHECK --interval=90s --retries=3 CMD curl -f http://localhost || exit 1
MAINTAINER Some One
ONBUILD RUN echo later
"#;
    let mut options = options();
    options.labels.insert("a".to_owned(), "flag".to_owned());
    snapshot("metadata", source, &options, Images::busybox());
}

#[test]
fn stages() {
    let source = "\
ARG tag=latest
FROM busybox:${tag} AS Build
ARG v=1
WORKDIR /src
COPY go.* .
RUN make
FROM busybox AS second
RUN false
FROM scratch AS files
COPY <<EOF <<'RAW' /etc/
v is ${v}$
EOF
v is $v
RAW
FROM build AS test
ENV MODE=test
RUN make test
FROM files
COPY --from=BUILD --chown=1:2 --chmod=u=rwX,go=rX /src/out/ /app/
COPY --from=1 /x* .
COPY --from=debian:12 /etc/debian_version /
COPY --link --from=files /etc/EOF /etc/copy
CMD [\"/app/run\"]
";
    snapshot("stages", source, &options(), Images::any());
}

#[test]
fn runs() {
    let source = "\
FROM busybox
ARG HTTP_PROXY
ARG a=1
ARG none
ARG empty=
ENV a=2
USER daemon
WORKDIR rel
RUN echo \"$a\" $none $missing
RUN [\"true\", \"$a\"]
RUN --network=none --security=sandbox true
RUN <<EOF
echo one
echo two
EOF
RUN <<-\"SCRIPT\"
	#!/usr/bin/env python
	print(1)
SCRIPT
RUN cat <<ONE && cat <<TWO
1
ONE
2
TWO
";
    let mut options = options();
    for (name, value) in [("HTTP_PROXY", "http://p"), ("no_proxy", "localhost")] {
        options.build_args.insert(name.to_owned(), value.to_owned());
    }
    options.build_args.insert("BUILDKIT_SANDBOX_HOSTNAME".to_owned(), "host".to_owned());
    options.extra_hosts.push(("h".to_owned(), "10.0.0.1".to_owned()));
    options.no_cache = NoCache::All;
    snapshot("runs", source, &options, Images::busybox());
}

#[test]
fn mounts() {
    let source = "\
FROM scratch AS seed
COPY x /
FROM busybox
WORKDIR /w
ENV T=cache P=/p
RUN --mount=target=. --mount=source=sub/../dir,target=in,rw true
RUN --mount=type=bind,from=seed,source=x,target=/x --mount=from=debian,target=/d true
RUN --mount=type=$T,target=$P/,sharing=locked --mount=type=cache,id=i,target=c,from=seed,source=/x,uid=1,mode=700,ro true
RUN --mount=type=tmpfs,target=/t --mount=type=tmpfs,target=/u,size=64m true
RUN --mount=type=secret,id=tok --mount=type=secret,id=e,env=TOKEN --mount=type=secret,target=/f,env=F,required echo $TOKEN
RUN --mount=type=ssh --mount=type=ssh,id=deploy,target=/s,mode=666,required ssh
";
    let mut options = options();
    options.build_args.insert("BUILDKIT_CACHE_MOUNT_NS".to_owned(), "ns".to_owned());
    snapshot("mounts", source, &options, Images::any());
}

#[test]
fn additions() {
    let source = "\
FROM scratch
ADD a.tar b.txt /d/
ADD --unpack=false a.tar /d/
ADD https://e.invalid/x/y.tgz?z=1 /dl/
ADD --unpack --checksum=sha256:0000000000000000000000000000000000000000000000000000000000000000 http://e.invalid/ /dl/
ADD https://e.invalid/r.git#main:sub /src
ADD --keep-git-dir=true git@e.invalid:o/r.git?branch=dev&submodules=false /src
COPY --exclude=*.md --exclude=!a.md --parents ./a/./b/*.txt c/**/d ../../e /out/
";
    snapshot("additions", source, &options(), Images::busybox());
}

#[test]
fn triggers() {
    let mut base = ImageConfig::for_platform(&amd64());
    base.config.on_build =
        ["ENV B=image", "COPY --from=tools /t /t", "RUN echo $B"].map(str::to_owned).into();
    base.config.working_dir = "/base".to_owned();
    base.rootfs.diff_ids = vec![bld_oci::Digest::of(b"base")];
    let source = "\
FROM scratch AS tools
COPY t /
FROM base AS middle
ONBUILD RUN echo middle
ONBUILD WORKDIR sub
RUN echo own
FROM middle
RUN echo last
";
    snapshot("triggers", source, &options(), Images::busybox().with("base:latest", base));
}

#[test]
fn platforms() {
    let source = "\
FROM --platform=$BUILDPLATFORM busybox AS build
ARG TARGETOS TARGETARCH TARGETPLATFORM BUILDARCH
RUN make $TARGETOS/$TARGETARCH
FROM busybox
COPY --from=build /out /
";
    let options = LowerOptions {
        platform: Some(Platform::new("linux", "arm64", None)),
        multi_platform: true,
        ..options()
    };
    snapshot("platforms", source, &options, Images::any());
}

#[test]
fn contexts() {
    let source = "\
FROM golang AS build
RUN make
FROM base
COPY --from=assets /a /a
COPY --from=build /out /out
";
    let images = Images::busybox().with_dir("build").with_dir("base").with_dir("assets");
    snapshot("contexts", source, &options(), images);
}

#[test]
fn graphviz_and_json() {
    let source = "FROM busybox AS a\nRUN echo \"x\"\nFROM scratch\nCOPY --from=a /o /o\nCOPY . .\n";
    let plan = support::plan(source);
    insta::assert_snapshot!("dot", render::dot(&plan));
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&render::json(&plan)).unwrap());
}

/// The keys of cached results: if one of them changes, everything ever built is built again.
#[test]
fn keys_stay_as_they_are() {
    let plan = support::plan(
        "FROM busybox\nARG a=1\nWORKDIR /w\nRUN --mount=type=cache,target=/c echo\nCOPY --chmod=755 x y/\n",
    );
    let keys = plan
        .graph
        .node_weights()
        .map(|vertex| serde_json::from_slice::<serde_json::Value>(&vertex.key()).unwrap());
    let env = json!([["PATH", support::PATH.strip_prefix("PATH=")], ["a", "1"]]);
    let platform = json!({"os": "linux", "architecture": "amd64"});
    let busybox = bld_oci::Digest::of(b"busybox");
    assert_eq!(
        keys.collect::<Vec<_>>(),
        [
            json!({"op": "image", "platform": platform, "diff_ids": [busybox]}),
            json!({"op": "mkdir", "platform": platform, "path": "/w"}),
            json!({
                "op": "exec", "platform": platform, "args": ["/bin/sh", "-c", "echo"], "env": env,
                "cwd": "/w", "network": "default", "security": "sandbox",
                "mounts": [{
                    "target": "/c", "type": "cache", "id": "/c", "source": "/",
                    "mode": "0755", "uid": 0, "gid": 0,
                }],
            }),
            json!({"op": "context", "platform": platform, "name": "context"}),
            json!({
                "op": "copy", "platform": platform, "dest": "/w/y/", "chmod": "0755",
                "sources": [{"from": "tree", "input": 0, "path": "/x"}],
            }),
        ]
    );
}
