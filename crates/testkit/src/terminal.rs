//! A program on a terminal, and somebody who reads what it shows and types.

use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long to wait for something to be shown.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running program on a pseudoterminal of its own, made by `script` (package bsdutils).
pub struct Terminal {
    script: Child,
    keyboard: Option<ChildStdin>,
    shown: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// How much of what was shown has been waited for.
    read: usize,
}

impl Terminal {
    /// Runs the shell command `line` on a terminal of `rows` and `columns`, with what `command` has
    /// of an environment and working directory.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(command: &Command, line: &str, (rows, columns): (u16, u16)) -> Self {
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-f", "-c"]);
        script.arg(format!("stty rows {rows} cols {columns}; exec {line}")).arg("/dev/null");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            script.current_dir(dir);
        }
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut script = script.spawn().expect("start script (package bsdutils)");
        let mut screen = script.stdout.take().expect("stdout is piped");
        let shown: Arc<Mutex<String>> = Arc::default();
        let writes = Arc::clone(&shown);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).replace('\r', "");
                writes.lock().expect("no reader panics").push_str(&text);
            }
        });
        let keyboard = script.stdin.take();
        Self { script, keyboard, shown, reader: Some(reader), read: 0 }
    }

    /// Waits until `text` is shown, after all that was waited for before.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for(&mut self, text: &str) {
        let begun = Instant::now();
        loop {
            let shown = self.shown();
            if let Some(at) = shown[self.read..].find(text) {
                self.read += at + text.len();
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{text:?} is not shown:\n{shown}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Types `text`.
    pub fn type_in(&mut self, text: &str) {
        let keyboard = self.keyboard.as_mut().expect("the terminal is open");
        keyboard.write_all(text.as_bytes()).expect("type");
        keyboard.flush().expect("type");
    }

    /// Everything that was shown so far, without carriage returns.
    pub fn shown(&self) -> String {
        self.shown.lock().expect("no reader panics").clone()
    }

    /// Waits for the end of the program; its exit code, and all that was shown.
    pub fn end(mut self) -> (i32, String) {
        let begun = Instant::now();
        let status = loop {
            match self.script.try_wait().expect("wait for script") {
                Some(status) => break status,
                None if begun.elapsed() > PATIENCE => {
                    panic!("it does not end:\n{}", self.shown());
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
        (status.code().unwrap_or(-1), self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The program loses its terminal, which ends it.
        drop(self.keyboard.take());
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}
