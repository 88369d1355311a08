//! What is said about mistakes, word for word.

use bld_dockerfile::{lint, parse};
use insta::assert_snapshot;

use crate::common::render;

fn errors(source: &str) -> String {
    let parsed = parse(source);
    let mut all = parsed.diagnostics;
    all.extend(parsed.deferred);
    all.sort_by_key(|diagnostic| diagnostic.span);
    render(source, &all)
}

fn warnings(source: &str) -> String {
    let parsed = parse(source);
    assert!(parsed.is_ok(), "{:#?}", parsed.diagnostics);
    render(source, &lint::check(&parsed.dockerfile, source))
}

#[test]
fn files_without_a_stage() {
    assert_snapshot!([errors(""), errors("# note\n\n"), errors("ARG a\nARG b=1\n")].join("\n"));
}

#[test]
fn all_errors_of_a_file_are_reported() {
    assert_snapshot!(errors(
        r#"# escape=x
# escape=\
RUN early
FROM a b
FROM busybox AS 1st
COPPY a /
COPY a
COPY --form=x a b
COPY --link=maybe a b
COPY --from=a --from=b x y
COPY --from=$stage a b
COPY --chmod=9 a b
COPY https://example.invalid/f /x
ADD --checksum=sha256:00 a /x
ENV lonely
ENV a=1 b 2
ENV =x
LABEL
ARG =x
CMD ["a", 1]
SHELL /bin/sh -c
USER
VOLUME ["", "/x"]
EXPOSE 80/ftp $ok
STOPSIGNAL SIGTREM
HEALTHCHECK WGET x
HEALTHCHECK --interval=1 CMD x
HEALTHCHECK --timeout=1us CMD x
HEALTHCHECK --retries=-1 CMD x
HEALTHCHECK NONE x
ONBUILD ONBUILD RUN x
ONBUILD FROM x
RUN --network=hots x
RUN --security=none x
RUN
WORKDIR "/unclosed
LABEL a=${x:=y} b=${x
&& forgotten
"#
    ));
}

#[test]
fn wrong_values_only_count_where_they_are_used() {
    let source =
        "FROM a AS unused\nEXPOSE 80/ftp\nUSER ${x\nRUN --mount=type=x,target=/x y\nFROM b\n";
    let parsed = parse(source);
    assert!(parsed.is_ok());
    assert_eq!(parsed.dockerfile.stages[0].instructions.len(), 3);
    assert_eq!(parsed.deferred.len(), 3);
}

#[test]
fn mistakes_in_mounts() {
    assert_snapshot!(errors(
        r#"FROM busybox
RUN --mount=type=tmp,target=/m true
RUN --mount=tpye=cache true
RUN --mount=type=cache,target=/c,sharing=lock true
RUN --mount=type=bind,size=1m true
RUN --mount=type=tmpfs,target=/t,size=big true
RUN --mount=type=cache,target true
RUN --mount=type=secret true
RUN --mount=type=secret,id=a,source=b true
RUN --mount=from=$stage,target=/x true
RUN --mount=type=cache,mode=999,target=/c true
RUN --mount=type=cache,target=/a"b true
RUN --mount=type=$kind,tarket=/x true
RUN --mount=type=bind \
    --mount=type=ssh,requird \
    true
RUN --device=a,b true
RUN --mount="type=bind true
"#
    ));
}

#[test]
fn mistakes_in_heredocs() {
    assert_snapshot!(errors("FROM a\nCOPY x <<EOF\nbody\nEOF\nRUN <<-END\n\tx\n END\n"));
}

#[test]
fn what_was_meant_as_the_end_of_a_heredoc_is_told() {
    assert_snapshot!(
        errors("FROM a\nRUN <<EOF\necho\n  EOF\nCOPPY a b\n"),
        @r#"
    error: unterminated heredoc `EOF`
      at 2:5 "<<EOF" line 4 looks like the end, but it is `  EOF`
      help: take the blanks around `EOF` away: it must be all of its line
    error: unknown instruction: COPPY
      at 5:1 "COPPY"
      help: did you mean COPY?
    "#
    );
    let told = |source: &str| {
        let parsed = parse(source);
        let found = parsed.diagnostics.into_iter().next().unwrap_or_else(|| panic!("{source}"));
        [found.label, found.help].map(Option::unwrap_or_default)
    };
    assert_eq!(
        told("FROM a\nRUN <<EOF\n\tx\n\tEOF\n"),
        [
            "line 4 looks like the end, but it is `\\tEOF`",
            "write `<<-EOF`, which allows tabs before the end, or take the tabs away"
        ]
    );
    assert_eq!(
        told("FROM a\nRUN <<SCRIPT\nx\nSCRPT\n"),
        [
            "line 4 looks like the end, but it is `SCRPT`",
            "write `SCRIPT` there: the two must be the same, also in case"
        ]
    );
    assert_eq!(told("FROM a\nRUN <<EOF\nEOF;\n")[0], "line 3 looks like the end, but it is `EOF;`");
}

#[test]
fn spans_reach_across_continued_lines() {
    assert_snapshot!(errors(
        "FROM a\nCOPY --chmod=7\\\n  # note\n77x \\\n\n  a b\nENV a=1 \\\n  b\n"
    ));
}

#[test]
fn warnings_of_the_checks() {
    assert_snapshot!(warnings(
        r#"ARG TAG
FROM --platform=linux/amd64 busybox:${TAG} AS Base
maintainer me
WORKDIR app
env key value
ENV api_key=1
EXPOSE 80/TCP 1:2
CMD run me
CMD ["last"]
FROM --platform=$TARGETPLATFORM base$TGA as base
RUN a \

    b
FROM scratch AS scratch
LABEL a b
"#
    ));
}

#[test]
fn options_silence_the_checks() {
    assert_eq!(warnings("# check=skip=all\nFROM a AS B\nCMD x\n"), "");
    assert_eq!(warnings("# check=skip=StageNameCasing\nFROM a AS B\n"), "");
    assert_eq!(warnings("FROM a\n# check=skip=JSONArgsRecommended // on purpose\nCMD x\n"), "");
    assert_snapshot!(warnings(
        "# check=experimental=all\n# version of it\nARG TAG=1\nFROM a:$TAG\n"
    ));
    assert_snapshot!(errors("# check=skp=all\nFROM a\n"));
}
