//! Running a program and looking at what it did.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::User;

/// A program about to be run, with its output captured.
pub struct Cmd {
    command: Command,
    stdin: Vec<u8>,
    timeout: Duration,
}

/// What a program printed, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// The exit code; 128 plus the number when a signal ended it.
    pub code: i32,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
    /// How long it took.
    pub elapsed: Duration,
}

impl From<Command> for Cmd {
    fn from(command: Command) -> Self {
        Self { command, stdin: Vec::new(), timeout: Duration::from_mins(2) }
    }
}

impl Cmd {
    /// Any program; nothing on its standard input, and two minutes to finish.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(program), stdin: Vec::new(), timeout: Duration::from_mins(2) }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Removes an environment variable.
    #[must_use]
    pub fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs it as an ordinary user.
    #[must_use]
    pub fn user(mut self, user: User) -> Self {
        self.command.uid(user.id).gid(user.id);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What the program finds on its standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take before it is killed and the test fails.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The program as the standard library has it.
    pub(crate) fn command(&self) -> &Command {
        &self.command
    }

    /// Starts it with its output going to files in `directory`, for tests that interrupt it.
    pub fn spawn(mut self, directory: &Path) -> Child {
        let file = |name| std::fs::File::create(directory.join(name)).expect("create output file");
        self.command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("start {:?}: {error}", self.command))
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it can't be started or does not finish in time.
    pub fn run(mut self) -> Output {
        let words: Vec<OsString> = std::iter::once(self.command.get_program())
            .chain(self.command.get_args())
            .map(OsStr::to_owned)
            .collect();
        let command = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
        let start = Instant::now();
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {command}: {error}"));
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = std::mem::take(&mut self.stdin);
        // A program need not read its input, nor read it before it writes.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let pid = child.id();
        let (done, finished) = std::sync::mpsc::channel::<()>();
        let timeout = self.timeout;
        let killer = std::thread::spawn(move || {
            let late = finished.recv_timeout(timeout).is_err();
            if late {
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
            }
            late
        });
        let output = child.wait_with_output().expect("wait for a child");
        let elapsed = start.elapsed();
        let _ = done.send(());
        let late = killer.join().expect("the timer does not panic");
        feeder.join().expect("the feeder does not panic");
        let result = Output {
            command,
            code: code(output.status),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            elapsed,
        };
        assert!(!late, "not finished after {timeout:?}\n{result}");
        result
    }

    /// Runs it and expects exit code 0.
    pub fn ok(self) -> Output {
        self.run().expect_code(0)
    }
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

impl Output {
    /// Fails the test unless the exit code is `code`.
    #[must_use]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{self}");
        self
    }

    /// Standard output without white space at its ends.
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }

    /// Fails the test unless the two streams together hold `needle`.
    #[must_use]
    pub fn expect_text(self, needle: &str) -> Self {
        let found = self.stdout.contains(needle) || self.stderr.contains(needle);
        assert!(found, "does not say {needle:?}\n{self}");
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, code, stdout, stderr, elapsed } = self;
        write!(
            f,
            "$ {command}\n(exit {code} after {elapsed:?})\n-- stdout\n{stdout}-- stderr\n{stderr}"
        )
    }
}
