//! Finding the program, in Docker's words when that fails.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use bld_sandbox::{SandboxError, User};

use crate::common::{Rootfs, refused, run};

#[test]
fn it_is_looked_for_inside_with_the_containers_path() {
    let rootfs = Rootfs::new();
    rootfs.write("opt/one/tool", "#!/bin/sh\necho one\n");
    rootfs.write("opt/two/tool", "#!/bin/sh\necho two\n");
    fs::create_dir_all(rootfs.lower().join("opt/zero/tool")).unwrap();
    for n in ["one", "two"] {
        let path = rootfs.lower().join(format!("opt/{n}/tool"));
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut spec = rootfs.spec(["tool"]);
    spec.env = vec!["PATH=/opt/none:rel:/opt/zero:/opt/two/:/opt/one".into()];
    assert_eq!(run(spec).ok(), "two\n", "a directory of that name is passed over");
    let mut spec = rootfs.spec(["one/tool"]);
    spec.cwd = "/opt".into();
    assert_eq!(run(spec).ok(), "one\n");
    // Not executable: passed over as well.
    let path = rootfs.lower().join("opt/two/tool");
    fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap();
    let mut spec = rootfs.spec(["tool"]);
    spec.env = vec!["PATH=/opt/two:/opt/one".into()];
    assert_eq!(run(spec).ok(), "one\n");
}

#[test]
fn docker_words() {
    let rootfs = Rootfs::new();
    rootfs.write("etc/passwd", "");
    rootfs.write("bad", "no program");
    rootfs.write("script", "#!/nosuch/interpreter\n");
    rootfs.write("empty", "");
    for name in ["bad", "script", "empty"] {
        let path = rootfs.lower().join(name);
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let cases = [
        ("nosuch", 127, r#"exec: "nosuch": executable file not found in $PATH"#),
        ("", 127, r#"exec: "": executable file not found in $PATH"#),
        ("/no/such", 127, r#"exec: "/no/such": stat /no/such: no such file or directory"#),
        ("/bin/sh/x", 127, r#"exec: "/bin/sh/x": stat /bin/sh/x: no such file or directory"#),
        ("/etc/passwd", 126, r#"exec: "/etc/passwd": permission denied"#),
        ("/etc", 126, r#"exec: "/etc": is a directory"#),
        ("/bad", 126, r#"exec: "/bad": exec format error"#),
        ("/empty", 126, r#"exec: "/empty": exec format error"#),
        (
            "/script",
            127,
            r#"exec: "/script": no such file or directory: its interpreter is missing"#,
        ),
    ];
    for init in [false, true] {
        for (program, code, words) in cases {
            let mut spec = rootfs.spec([program, "argument"]);
            spec.init = init;
            let error = refused(spec);
            assert_eq!((i32::from(error.exit_code()), error.to_string().as_str()), (code, words));
        }
    }
    let mut spec = rootfs.spec(["sh"]);
    spec.env.clear();
    assert!(matches!(refused(spec), SandboxError::NotFound { .. }), "without PATH");
    assert_eq!(rootfs.changes(), [""; 0]);
}

#[test]
fn permissions_are_the_users() {
    let rootfs = Rootfs::new();
    rootfs.write("secret/tool", "#!/bin/sh\n");
    let dir = rootfs.lower().join("secret");
    fs::set_permissions(dir.join("tool"), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).unwrap();
    let mut spec = rootfs.spec(["/secret/tool"]);
    assert!(run(rootfs.spec(["/secret/tool"])).status.success());
    spec.user = User { uid: 5, gid: 5, groups: vec![] };
    let error = refused(spec);
    assert_eq!(error.to_string(), r#"exec: "/secret/tool": permission denied"#);
    let mut spec = rootfs.sh("true");
    spec.user = User { uid: 5, gid: 5, groups: vec![] };
    // Where a process begins is not the user's choice.
    spec.cwd = "/secret".into();
    assert!(run(spec).status.success());
}

#[test]
fn too_many_arguments() {
    let rootfs = Rootfs::new();
    let long = "x".repeat(200 << 10);
    let error = refused(rootfs.spec(["echo", &long]));
    assert_eq!(error.exit_code(), 126);
    assert_eq!(error.to_string(), r#"exec: "echo": argument list too long"#);
}
