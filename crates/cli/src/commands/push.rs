//! `bld push`

use std::collections::BTreeMap;

use bld_engine::sign::SigningKey;
use bld_event::Events;
use bld_oci::Reference;

use super::pull::platform;
use super::sign::{private_key, sign};
use crate::error::{Failure, describe};
use crate::progress::{self, Display, Stdio};
use crate::session::{Outcome, Session};

/// Upload an image to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Push all tags of an image to the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Skip image signing (there is none to skip)
    #[arg(long)]
    disable_content_trust: bool,
    /// Push only the image for this platform, of those that the name stands for
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    quiet: bool,
    /// Sign what was pushed with this private key, as "bld sign" does
    #[arg(long, value_name = "string")]
    sign: Option<String>,
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let reference = Reference::parse(&args.name).map_err(|error| Failure::new(describe(&error)))?;
    let key = args.sign.as_deref().map(private_key).transpose()?;
    if args.quiet {
        let pushed = push(args, session, &Events::none())?;
        sign_all(session, key.as_ref(), &pushed)?;
        session.say(&reference.to_string())?;
        return Ok(0);
    }
    session.say(&format!("The push refers to repository [{}]", reference.name()))?;
    let display = Display::transfer(Stdio::Out, progress::PUSH)?;
    let pushed = push(args, session, &display.events());
    display.finish();
    let pushed = pushed?;
    for (reference, pushed) in &pushed {
        let tag = reference.tag().unwrap_or("latest");
        session.say(&format!("{tag}: digest: {} size: {}", pushed.digest, pushed.size))?;
    }
    sign_all(session, key.as_ref(), &pushed)?;
    Ok(0)
}

/// Signs by digest: by now the tags may name something else.
fn sign_all(
    session: &Session,
    key: Option<&SigningKey>,
    pushed: &[(Reference, bld_engine::Pushed)],
) -> Result<(), Failure> {
    let Some(key) = key else { return Ok(()) };
    for (reference, pushed) in pushed {
        let image = reference.by_digest(pushed.digest).to_string();
        sign(session, &image, key, &BTreeMap::new())?;
    }
    Ok(())
}

fn push(
    args: &Args,
    session: &Session,
    events: &Events,
) -> Result<Vec<(Reference, bld_engine::Pushed)>, Failure> {
    let platform = platform(args.platform.as_deref())?;
    Ok(if args.all_tags {
        session.engine.push_all(&args.name, platform.as_ref(), events)?
    } else {
        vec![session.engine.push_image(&args.name, platform.as_ref(), events)?]
    })
}
