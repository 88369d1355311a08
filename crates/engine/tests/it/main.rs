//! The engine as a library, on real containers. Needs root and a static busybox.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod containers;
mod images;
mod logs;
mod volumes;

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use bld_engine::containers::{Container, Control, CreateRequest, Io};
use bld_engine::{Engine, EngineConfig, EngineError};
use bld_event::Events;
use tempfile::TempDir;

/// An engine on a store of its own.
struct Place {
    engine: Engine,
    dir: TempDir,
}

impl Place {
    /// An engine with an empty store.
    fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("bld-engine-").tempdir().unwrap();
        Self { engine: Engine::open(EngineConfig::new(dir.path().join("root"))), dir }
    }

    /// An engine that has `busybox:latest`.
    fn new() -> Self {
        let place = Self::empty();
        let layer = bld_testkit::rootfs::busybox().unwrap();
        let archive = place.dir.path().join("busybox.tar");
        bld_testkit::write_archive(&archive, "docker.io/library/busybox:latest", &layer, &["sh"])
            .unwrap();
        let file = std::fs::File::open(archive).unwrap();
        place.engine.load_images(file, None, &Events::none()).unwrap();
        place
    }

    /// Makes a container without a network, changed by `change`.
    fn create(&self, command: &[&str], change: impl FnOnce(&mut CreateRequest)) -> Container {
        let mut request = CreateRequest {
            image: "busybox".to_owned(),
            command: command.iter().map(ToString::to_string).collect(),
            ..CreateRequest::default()
        };
        request.host.network = bld_engine::containers::NetworkMode::None;
        change(&mut request);
        self.engine.create_container(&request, &Events::none()).unwrap()
    }

    /// Runs a container to its end: exit code, output and errors.
    fn run(&self, container: &Container) -> Result<(i32, String, String), EngineError> {
        let (out, err) = (Sink::default(), Sink::default());
        let io = Io {
            stdout: Some(Box::new(out.clone())),
            stderr: Some(Box::new(err.clone())),
            ..Io::default()
        };
        let control = Control::new()?;
        let exit = self.engine.run_container(&container.id, io, &control, &mut |_| {})?;
        Ok((exit.code, out.text(), err.text()))
    }

    /// Runs `script` in a container that is removed afterwards.
    fn sh(&self, script: &str, change: impl FnOnce(&mut CreateRequest)) -> (i32, String) {
        let container = self.create(&["sh", "-c", script], |request| {
            request.host.auto_remove = true;
            change(request);
        });
        let (code, out, err) = self.run(&container).unwrap();
        (code, out + &err)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Containers of a test that failed.
        for container in self.engine.containers(&all()).unwrap_or_default() {
            let options = bld_engine::containers::RemoveOptions { force: true, volumes: true };
            let _removed = self.engine.remove_container(&container.id, options);
        }
    }
}

fn all() -> bld_engine::containers::ContainerFilter {
    bld_engine::containers::ContainerFilter { all: true, ..Default::default() }
}

/// Kills a container when dropped, so that a test that fails does not wait for its end.
struct Killer<'a>(&'a Place, &'a Container);

impl Drop for Killer<'_> {
    fn drop(&mut self) {
        let _ended = self.0.engine.kill_container(&self.1.id, "KILL");
    }
}

/// Keeps what is written to it.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
