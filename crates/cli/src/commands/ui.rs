//! `bld ui`

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use bld_engine::Engine;
use bld_event::Cancel;

use crate::session::{Outcome, Session};
use crate::signals;

/// Show builds, images and containers in a browser
///
/// Serves a page until it is interrupted. Who opens the address that is printed may use it, nobody else;
/// the token in it is a new one for each start. Builds that run in other terminals on the same store
/// appear by themselves.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one. Beyond loopback, everybody on the network who has
    /// the address with its token can use it, and others can listen: it is not encrypted
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    /// Refuse every change
    #[arg(long)]
    read_only: bool,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let stop = Cancel::new();
    let asked = stop.clone();
    signals::handle(&signals::ENDING, move |_| asked.cancel())?;
    let options = bld_server::Options {
        listen: args.listen,
        read_only: args.read_only,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut told = Ok(());
    let ready = |url: &str| {
        told = session.say(url);
        if args.open {
            open(url);
        }
    };
    let engine = Engine::open(session.engine.config().clone());
    bld_server::serve(engine, &options, ready, &stop)?;
    told.map(|()| 0)
}

/// Opens an address by the desktop's own means. Where there are none, it can be clicked.
fn open(url: &str) {
    let mut command = Command::new("xdg-open");
    command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut child) = command.spawn() {
        // It ends when the browser was told, or is the browser.
        let _ = std::thread::Builder::new().spawn(move || child.wait());
    }
}
