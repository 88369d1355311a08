//! The options of `RUN --mount`.

use bld_dockerfile::expand::Expander;
use bld_dockerfile::{Mount, MountKind, MountSpec, Sharing, Spanned};

fn spec(text: &str) -> MountSpec {
    Mount::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn bind_is_the_default_and_read_only() {
    let mount = spec("target=/c");
    assert_eq!(mount.kind, MountKind::Bind);
    assert_eq!(mount.target.as_deref(), Some("/c"));
    assert!(mount.read_only);
    assert!(!spec("target=/c,rw").read_only);
    assert!(spec("target=/c,rw=false").read_only);
    assert!(!spec("target=/c,readonly=0").read_only);
}

#[test]
fn options_have_short_names_and_no_case() {
    let mount =
        spec("TYPE=Cache,SRC=/s,DST=/d,Sharing=Locked,ID=x,from=base,UID=1,gid=2,mode=0751");
    let expected = MountSpec {
        kind: MountKind::Cache,
        source: Some("/s".into()),
        target: Some("/d".into()),
        from: Some("base".into()),
        id: Some("x".into()),
        sharing: Sharing::Locked,
        mode: Some(0o751),
        uid: Some(1),
        gid: Some(2),
        ..MountSpec::default()
    };
    assert_eq!(mount, expected);
    assert_eq!(spec("destination=/d,type=tmpfs,size=64m").size, Some(64 << 20));
    assert!(!spec("type=tmpfs,target=/t").read_only);
}

#[test]
fn the_order_of_options_means_nothing() {
    let mount = spec("required,env=TOKEN,id=tok,type=secret");
    assert!(mount.required);
    assert_eq!(mount.env.as_deref(), Some("TOKEN"));
    assert!(spec("type=ssh,required=true").required);
}

#[test]
fn quoted_options_may_hold_commas() {
    assert_eq!(spec("type=bind,\"target=/a,b\"").target.as_deref(), Some("/a,b"));
}

#[test]
fn options_of_podman_that_mean_nothing_here_are_accepted() {
    assert_eq!(spec("type=bind,target=/x,z"), spec("type=bind,target=/x"));
}

#[test]
fn a_variable_can_not_smuggle_in_options() {
    let text = "type=$kind,target=$dir,from=stage".to_owned();
    let mount = Mount { text: Spanned::new(text, bld_dockerfile::Span::default()) };
    let env = [("kind", "cache"), ("dir", "/x,rw")];
    let expand = |value: &str| Expander::default().word(value, &env).map(|word| word.text);
    let resolved = mount.resolve(expand).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(resolved.target.as_deref(), Some("/x,rw"));
    assert_eq!(resolved.kind, MountKind::Cache);
    assert_eq!(mount.from().as_deref(), Some("stage"));
}

#[test]
fn numbers_have_no_signs() {
    for wrong in ["type=cache,uid=+1", "type=cache,mode=-1", "type=cache,gid=", "type=cache,uid=x"]
    {
        assert!(Mount::parse(wrong).is_err(), "{wrong}");
    }
}
