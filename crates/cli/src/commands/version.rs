//! `bld version`

use std::io::Write as _;

use serde_json::{Value, json};

use crate::error::Failure;
use crate::session::{Outcome, Session};
use crate::template::{Missing, Options, Template};

/// The version of this program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version of docker's API whose words are spoken here.
const API_VERSION: &str = "1.50";

/// Show the version information
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Format output using a custom template: 'json' or 'TEMPLATE'
    #[arg(short, long, value_name = "string")]
    format: Option<String>,
}

/// `bld --version`
pub(crate) fn short() -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "bld version {VERSION}")?)
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let about = about();
    let text = match args.format.as_deref() {
        None | Some("") => default(&about),
        Some("json") => format!("{about}\n"),
        Some(format) => render(format, &about)?,
    };
    session.print(&text)?;
    Ok(0)
}

/// A document by a template.
pub(super) fn render(format: &str, value: &Value) -> Result<String, Failure> {
    let options = Options { missing: Missing::Error, ..Options::default() };
    let template = Template::parse(format).map_err(Failure::unreadable)?;
    Ok(template.render(value, &options)? + "\n")
}

/// There is one program, which is client and server in one.
fn about() -> Value {
    let uname = rustix::system::uname();
    let kernel = uname.release().to_string_lossy();
    let (os, arch) = (std::env::consts::OS, bld_oci::Platform::host().architecture);
    let side = json!({
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "Os": os,
        "Arch": arch,
        "KernelVersion": kernel,
    });
    json!({"Client": side, "Server": side})
}

fn default(about: &Value) -> String {
    let side = |name: &str, first: &str| {
        let of = |key: &str| about[name][key].as_str().unwrap_or_default().to_owned();
        format!(
            "{name}:{first}\n Version:           {}\n API version:       {}\n OS/Arch:           {}/{}\n \
             Kernel version:    {}\n",
            of("Version"),
            of("ApiVersion"),
            of("Os"),
            of("Arch"),
            of("KernelVersion"),
        )
    };
    format!("{}\n{}", side("Client", " bld"), side("Server", " bld (no daemon)"))
}
