//! Terminals.

use std::fs::File;
use std::io::{Read, Write};

use bld_sandbox::{Process, Spec, Stdio, User, spawn};

use crate::common::Rootfs;

fn on_terminal(mut spec: Spec) -> (Process, File) {
    spec.stdio = Stdio::Terminal { rows: 33, columns: 99 };
    let mut process = spawn(spec).unwrap();
    let terminal = process.take_terminal().unwrap();
    assert!(process.take_terminal().is_none());
    (process, terminal.into())
}

/// Everything until the last process with the terminal has ended.
fn rest(terminal: &mut File) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 1024];
    // It ends with EIO.
    while let Ok(n @ 1..) = terminal.read(&mut buffer) {
        text.extend(&buffer[..n]);
    }
    String::from_utf8(text).unwrap().replace('\r', "")
}

fn until(terminal: &mut File, end: &str) {
    let mut text = String::new();
    while !text.contains(end) {
        let mut byte = [0];
        terminal.read_exact(&mut byte).unwrap();
        text.push(byte[0] as char);
    }
}

#[test]
fn it_is_the_controlling_terminal() {
    for init in [false, true] {
        let rootfs = Rootfs::new();
        let script = "tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo all
            echo direct > /dev/tty; ls -1 /dev/pts; echo console > /dev/console
            stat -c '%a %u:%g' /dev/pts/0; stat -c %t:%T /dev/console";
        let mut spec = rootfs.sh(script);
        spec.init = init;
        spec.user = User { uid: 1000, gid: 1000, groups: vec![] };
        let (mut process, mut terminal) = on_terminal(spec);
        let text = rest(&mut terminal);
        let expected = "/dev/pts/0\n33 99\nall\ndirect\n0\nptmx\nconsole\n620 1000:5\n88:0\n";
        assert_eq!(text, expected);
        assert!(process.wait().unwrap().success());
        assert_eq!(rootfs.changes(), [""; 0]);
    }
}

#[test]
fn input_and_signals_go_through_it() {
    for init in [false, true] {
        let rootfs = Rootfs::new();
        let script = "trap 'echo caught; exit 4' INT; read line; echo got $line
            while true; do sleep 0.05; done";
        let mut spec = rootfs.sh(script);
        spec.init = init;
        let (mut process, mut terminal) = on_terminal(spec);
        terminal.write_all(b"hello\n").unwrap();
        until(&mut terminal, "got hello");
        terminal.write_all(&[3]).unwrap();
        assert!(rest(&mut terminal).contains("caught"));
        assert_eq!(process.wait().unwrap().code, 4, "init: {init}");
    }
}

#[test]
fn a_change_of_size_is_told() {
    let rootfs = Rootfs::new();
    let script = "trap 'stty size; exit' WINCH; echo ready; while true; do sleep 0.05; done";
    let (mut process, mut terminal) = on_terminal(rootfs.sh(script));
    until(&mut terminal, "ready");
    let size = rustix::termios::Winsize { ws_row: 5, ws_col: 6, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal, size).unwrap();
    assert!(rest(&mut terminal).contains("5 6\n"));
    assert!(process.wait().unwrap().success());
}

#[test]
fn more_terminals_can_be_opened_inside() {
    let rootfs = Rootfs::new();
    // A second one needs the container's own multiplexer.
    let mut spec = rootfs.sh(": < /dev/ptmx && ls -1 /dev/pts && stat -L -c %t:%T /dev/ptmx");
    spec.env.push("A=1".into());
    let (mut process, mut terminal) = on_terminal(spec);
    let text = rest(&mut terminal);
    assert_eq!(text, "0\nptmx\n5:2\n");
    assert!(process.wait().unwrap().success());
}

#[test]
fn the_callers_terminal_is_out_of_reach() {
    let rootfs = Rootfs::new();
    let output = crate::common::run(rootfs.sh(": < /dev/tty"));
    assert!(output.stderr.contains("/dev/tty"), "{}", output.stderr);
    assert!(!output.status.success());
}
