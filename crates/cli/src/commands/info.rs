//! `bld info`

use bld_engine::containers::{ContainerFilter, Status};
use bld_engine::images::ImageFilter;
use serde_json::json;

use super::version::{self, VERSION};
use crate::output::units;
use crate::session::{Outcome, Session};

/// Display system-wide information
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let engine = &session.engine;
    let containers =
        engine.containers(&ContainerFilter { all: true, ..ContainerFilter::default() })?;
    let count = |status: Status| containers.iter().filter(|c| c.state.status == status).count();
    let uname = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let about = json!({
        "ID": engine.config().root,
        "Containers": containers.len(),
        "ContainersRunning": count(Status::Running),
        "ContainersPaused": count(Status::Paused),
        "ContainersStopped": count(Status::Exited) + count(Status::Created),
        "Images": engine.images(&ImageFilter::default())?.len(),
        "Driver": "overlay2",
        "LoggingDriver": "json-file",
        "KernelVersion": uname.release().to_string_lossy(),
        "OperatingSystem": operating_system(),
        "OSType": std::env::consts::OS,
        "Architecture": uname.machine().to_string_lossy(),
        "NCPU": cores,
        "MemTotal": memory.totalram * u64::from(memory.mem_unit),
        "DockerRootDir": engine.config().root,
        "Name": uname.nodename().to_string_lossy(),
        "ServerVersion": VERSION,
    });
    let text = match args.format.as_deref() {
        Some("json") => format!("{about}\n"),
        Some(format) if !format.is_empty() => version::render(format, &about)?,
        _ => {
            let of = |key: &str| match &about[key] {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let memory = units::binary_size(about["MemTotal"].as_u64().unwrap_or(0));
            format!(
                "Client:\n Version:    {VERSION}\n\nServer:\n Containers: {}\n  Running: {}\n  Paused: {}\n  \
                 Stopped: {}\n Images: {}\n Server Version: {VERSION}\n Storage Driver: overlay2\n \
                 Logging Driver: json-file\n Kernel Version: {}\n Operating System: {}\n OSType: {}\n \
                 Architecture: {}\n CPUs: {}\n Total Memory: {memory}\n Name: {}\n Docker Root Dir: {}\n",
                of("Containers"),
                of("ContainersRunning"),
                of("ContainersPaused"),
                of("ContainersStopped"),
                of("Images"),
                of("KernelVersion"),
                of("OperatingSystem"),
                of("OSType"),
                of("Architecture"),
                of("NCPU"),
                of("Name"),
                of("DockerRootDir"),
            )
        }
    };
    session.print(&text)?;
    Ok(0)
}

/// The name the system gives itself; see os-release(5).
fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}
