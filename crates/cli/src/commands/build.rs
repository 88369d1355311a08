//! `bld build`

pub(crate) mod annotations;
mod attest;
mod blame;
mod caches;
mod call;
mod check;
mod collect;
mod contexts;
pub(crate) mod gha;
mod insecure;
mod limits;
pub(super) mod outputs;
mod print;
mod report;
mod request;
mod results;
mod secrets;
mod shell;
mod traced;
mod trigger;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bld_engine::EngineError;
use bld_engine::build::{BuildError, BuildResult};
use bld_engine::containers::Control;
use bld_engine::history::{BuildLog, Status};
use bld_event::{Cancel, Events};
use nix::sys::signal::Signal;

use crate::config::Config;
use crate::error::{Failure, INTERRUPTED, describe};
use crate::output::units::parse_size;
use crate::progress::{Display, Mode, StepReport};
use crate::session::{Outcome, Session};
use crate::signals::{self, Handler};
use crate::terminal;
use shell::OnError;

/// Build an image from a Dockerfile
///
/// The context is a directory, the URL of a git repository (#REF:SUBDIR), of a tar archive or of a
/// Dockerfile, or "-": a Dockerfile or a tar archive, plain or compressed, on standard input.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Add a custom host-to-IP mapping (format: "host:ip")
    #[arg(long, value_name = "strings")]
    add_host: Vec<String>,
    /// Allow extra privileged entitlement (e.g., "network.host", "security.insecure", "device")
    #[arg(long, value_name = "stringArray")]
    allow: Vec<String>,
    /// Add annotation to the image (format: "[manifest|manifest-descriptor|index|index-descriptor[PLATFORM]:]key=value")
    #[arg(long, value_name = "stringArray")]
    annotation: Vec<String>,
    /// Attestation parameters (format: "type=provenance,mode=max", "type=sbom,store=index")
    #[arg(long, value_name = "stringArray")]
    attest: Vec<String>,
    /// Set build-time variables (format: "NAME[=value]"; without a value, that of the environment)
    #[arg(long, value_name = "stringArray")]
    build_arg: Vec<String>,
    /// Additional build contexts (format: "name=SOURCE"; a path, a git or HTTP URL, "docker-image://REF",
    /// "oci-layout://PATH[:TAG]" or "target:STAGE")
    #[arg(long, value_name = "stringArray")]
    build_context: Vec<String>,
    /// Override the configured builder instance (there is one)
    #[arg(long, value_name = "string")]
    builder: Option<String>,
    /// External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir",
    /// "type=s3,bucket=NAME", "type=gha")
    #[arg(long, value_name = "stringArray")]
    cache_from: Vec<String>,
    /// Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir",
    /// "type=s3,bucket=NAME", "type=gha")
    #[arg(long, value_name = "stringArray")]
    cache_to: Vec<String>,
    /// Set method for evaluating build ("check", "outline", "targets"; format: "check,format=json")
    #[arg(long, value_name = "string")]
    call: Option<String>,
    /// Set the parent cgroup for the RUN instructions during build
    #[arg(long, value_name = "string")]
    cgroup_parent: Option<String>,
    /// Shorthand for "--call=check"
    #[arg(long)]
    check: bool,
    /// Number of CPUs that all steps of the build together may use
    #[arg(long, value_name = "decimal")]
    cpus: Option<f64>,
    /// Enable debug output: warnings in full
    #[arg(short = 'D', long)]
    debug: bool,
    /// Say of every step why its result was known, or what changed
    #[arg(long)]
    explain: bool,
    /// Name of the Dockerfile: a path, a URL, or "-" for standard input (default: "PATH/Dockerfile")
    #[arg(short, long, value_name = "string")]
    file: Option<String>,
    /// Write the image ID to a file
    #[arg(long, value_name = "string")]
    iidfile: Option<PathBuf>,
    /// Most steps that run at the same time (default: as many as can)
    #[arg(short, long, value_name = "int")]
    jobs: Option<usize>,
    /// Set metadata for an image (format: "key=value")
    #[arg(long, value_name = "stringArray")]
    label: Vec<String>,
    /// Shorthand for "--output=type=docker"
    #[arg(long)]
    load: bool,
    /// Add the images to a manifest list, which is made if there is none
    #[arg(long, value_name = "list")]
    manifest: Option<String>,
    /// Memory that all steps of the build together may use (format: "2g")
    #[arg(short, long, value_name = "bytes")]
    memory: Option<String>,
    /// Write build result metadata to a file
    #[arg(long, value_name = "string")]
    metadata_file: Option<PathBuf>,
    /// Set the networking mode for the RUN instructions during build (default, host or none)
    #[arg(long, value_name = "string", default_value = "default", hide_default_value = true)]
    network: String,
    /// Do not use cache when building the image
    #[arg(long)]
    no_cache: bool,
    /// Do not cache specified stages
    #[arg(long, value_name = "stringArray", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Read every file of the build context, even if size and times say that it has not changed
    #[arg(long)]
    no_stat_cache: bool,
    /// What to do when a step fails: "fail", or "shell" to look at it right there
    #[arg(long, value_name = "string", default_value = "fail", hide_default_value = true)]
    on_error: OnError,
    /// Output destination (format: "type=local,dest=path"; types: "local", "tar", "oci", "docker",
    /// "image", "registry", "cacheonly")
    #[arg(short, long, value_name = "stringArray")]
    output: Vec<String>,
    /// Set target platforms for build (format: "linux/amd64,linux/arm64"; "local" for this machine's)
    #[arg(long, value_name = "stringArray", value_delimiter = ',')]
    platform: Vec<String>,
    /// Policy to evaluate for sources
    #[arg(long, value_name = "stringArray")]
    policy: Vec<String>,
    /// Print instead of building: what would be done ("graph", "graph=dot", "graph=json") or which
    /// files the context holds and what keeps others out ("context", "context=json")
    #[arg(long, value_name = "string")]
    print: Option<String>,
    /// Set type of progress output ("auto", "none", "plain", "quiet", "rawjson", "tty")
    #[arg(
        long,
        value_name = "string",
        env = "BUILDKIT_PROGRESS",
        hide_env = true,
        default_value = "auto",
        hide_default_value = true
    )]
    progress: Mode,
    /// Shorthand for "--attest=type=provenance"
    #[arg(long, value_name = "string")]
    provenance: Option<String>,
    /// Always attempt to pull all referenced images
    #[arg(long)]
    pull: bool,
    /// Shorthand for "--output=type=registry"
    #[arg(long)]
    push: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short, long)]
    quiet: bool,
    /// Fix every time that ends up in the image, so that the same build gives the same digest: to
    /// SOURCE_DATE_EPOCH, or 1970 where that is not set
    #[arg(long)]
    reproducible: bool,
    /// Resource limits for each of the build containers (format: "memory=2g", "cpu-quota=50000")
    #[arg(long, value_name = "stringArray")]
    resource: Vec<String>,
    /// Shorthand for "--attest=type=sbom"
    #[arg(long, value_name = "string")]
    sbom: Option<String>,
    /// Secret to expose to the build (format: "id=mysecret[,src=/local/secret|,env=NAME]")
    #[arg(long, value_name = "stringArray")]
    secret: Vec<String>,
    /// Shared memory size for build containers
    #[arg(long, value_name = "bytes", value_parser = parse_size)]
    shm_size: Option<u64>,
    /// Sign what is pushed with this private key, as "bld sign" does
    #[arg(long, value_name = "string")]
    sign: Option<String>,
    /// Put all new layers into one; the layers of the base image stay
    #[arg(long)]
    squash: bool,
    /// Rules that pin, replace or deny sources: a file in BuildKit's format
    #[arg(long, value_name = "string")]
    source_policy_file: Option<PathBuf>,
    /// SSH agent socket or keys to expose to the build (format: "default|<id>[=<socket>|<key>[,<key>]]")
    #[arg(long, value_name = "stringArray")]
    ssh: Vec<String>,
    /// Image identifier (format: "[registry/]repository[:tag]")
    #[arg(short, long, value_name = "stringArray")]
    tag: Vec<String>,
    /// Set the target build stage to build
    #[arg(long, value_name = "string")]
    target: Option<String>,
    /// Reuse RUN steps by the files that they read: "off", "record" what is read, "use" it, or
    /// "verify" that this would be right
    #[arg(long, value_name = "string", default_value = "off", hide_default_value = true)]
    traced_cache: traced::Mode,
    /// Ulimit options
    #[arg(long, value_name = "ulimit", value_parser = super::options::parse_ulimit)]
    ulimit: Vec<(String, u64, u64)>,
    /// Build again in a fresh store, and fail if another image comes out, telling where it differs
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    classic: Classic,
    #[arg(value_name = "PATH | URL | -")]
    context: String,
}

/// Flags of docker's classic builder that users still type.
#[derive(Debug, Default, clap::Args)]
struct Classic {
    #[arg(long, hide = true)]
    compress: bool,
    #[arg(long, hide = true)]
    cpu_period: Option<String>,
    #[arg(long, hide = true)]
    cpu_quota: Option<String>,
    #[arg(short, long, hide = true)]
    cpu_shares: Option<String>,
    #[arg(long, hide = true)]
    cpuset_cpus: Option<String>,
    #[arg(long, hide = true)]
    cpuset_mems: Option<String>,
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    #[arg(long, hide = true)]
    force_rm: bool,
    #[arg(long, hide = true)]
    isolation: Option<String>,
    #[arg(long, hide = true)]
    memory_swap: Option<String>,
    #[arg(long, hide = true)]
    rm: bool,
    #[arg(long, hide = true)]
    security_opt: Vec<String>,
}

pub(crate) fn run(args: &Args, session: &Session) -> Outcome {
    let started = match insecure::registries(args) {
        trusted if trusted.is_empty() => start(args, session),
        trusted => {
            let session = session.trusting(trusted);
            // What it has found damaged is known to its own engine.
            start(args, &session).inspect_err(|_| session.drop_damaged())
        }
    };
    started.or_else(|failure| {
        // Docker's builder says it louder than docker.
        failure.print("ERROR: ");
        Ok(failure.code)
    })
}

fn start(args: &Args, session: &Session) -> Outcome {
    let call = call::Call::of(args)?;
    let notes = request::without_effect(args).into_iter();
    for note in notes.chain(secrets::notes(&args.secret)).chain(request::unlikely_platforms(args)) {
        session.tell(&note);
    }
    let mut request = request::build(args)?;
    verify::check(args, &request)?;
    results::prepare(args, &request.outputs)?;
    session.tell_if_any(&attest::note(&request).unwrap_or_default());
    let mut agents = Vec::new();
    for (id, files) in secrets::ssh(&args.ssh)?.keys {
        let agent = session.engine.key_agent(&files)?;
        request.ssh.insert(id, agent.socket());
        agents.push(agent);
    }
    if let Some(call) = call {
        return call.run(session, &request);
    }
    if let Some(what) = &args.print {
        return print::print(session, &request, what);
    }
    let config = Config::read()?;
    let cancel = Cancel::new();
    let control = match args.on_error {
        OnError::Fail => None,
        OnError::Shell => {
            shell::check()?;
            Some(Control::new()?)
        }
    };
    // Before there are threads: the first waits for signals.
    limits::open_files(&mut request.ulimits);
    let _signals = cancel_on_signal(&cancel, control.clone())?;
    let mode = if args.quiet { Mode::Quiet } else { args.progress };
    let display = Display::start(mode).map_err(|error| Failure::new(error.to_string()))?;
    let reached = Arc::new(AtomicBool::new(control.is_none()));
    if let Some(control) = control {
        request.on_failure = shell::on_failure(display.pause(), control, Arc::clone(&reached));
    }
    let log = session.engine.log_build(&request, trigger::trigger());
    let events = match &log {
        Ok(log) => log.tee(display.events()),
        Err(_) => display.events(),
    };
    let mut warnings = None;
    let built = build(session, &request, &events, &cancel, &mut warnings);
    let verified = match &built {
        Ok(result) if args.verify => {
            Some(verify::verify(session, &request, result, (&display.events(), &cancel)))
        }
        _ => None,
    };
    let collected = match &built {
        Ok(result) if result.steps.run == 0 => Ok(()),
        // Of these, too, steps have run: a disk that they filled is to have space for the next.
        Ok(_) | Err(BuildError::Step { .. }) => collect::collect(session, &config.gc, &events),
        Err(_) => Ok(()),
    };
    let summary = display.finish();
    if let Err(error) = collected {
        session.tell(&format!("warning: the cache was not collected: {}", describe(&error)));
    }
    if let Err(error) = log.and_then(|log| end_log(log, &built, &cancel)) {
        session.tell(&format!("note: this build is not in the history: {}", describe(&error)));
    }
    if args.explain {
        let reasons = summary.steps.iter().filter_map(StepReport::explained);
        session.tell_if_any(&reasons.collect::<Vec<_>>().join("\n"));
    }
    // After a failure too: what a variable expanded to may be the reason.
    if let Some(warnings) = warnings.filter(|_| !matches!(mode, Mode::Quiet | Mode::Rawjson)) {
        session.tell_if_any(&warnings.render(args.debug));
    }
    match built {
        Ok(result) => {
            results::list(args, session, &result)?;
            results::sign_pushed(args, &request.outputs, session, &result)?;
            let code = results::hand_over(args, mode, session, &result)?;
            match verified {
                Some(verified) => verify::tell(session, mode, verified, &summary),
                None => Ok(code),
            }
        }
        Err(_) if cancel.is_canceled() => {
            Err(Failure::new("failed to build: failed to solve: canceled").with_code(INTERRUPTED))
        }
        Err(error) => {
            // Plain output has shown every line already; the others hide or mix them.
            let whole = mode != Mode::Plain;
            if matches!(error, BuildError::Step { .. }) && !reached.load(Ordering::Relaxed) {
                session.tell(shell::NO_PLACE);
            }
            Err(report::failed(session, &error, &summary, whole))
        }
    }
}

/// Writes down how the build ended.
fn end_log(
    log: BuildLog,
    built: &Result<BuildResult, BuildError>,
    cancel: &Cancel,
) -> Result<(), EngineError> {
    match built {
        Ok(result) => {
            log.attested(&result.said);
            log.finish(Status::Completed, None, Some(result))
        }
        Err(_) if cancel.is_canceled() => log.finish(Status::Canceled, None, None),
        Err(error) => log.finish(Status::Failed, Some(report::reason(error)), None),
    }
}

/// Plans and builds; what is worth a look is in `warnings` as soon as it is known.
fn build(
    session: &Session,
    request: &bld_engine::build::BuildRequest,
    events: &Events,
    cancel: &Cancel,
    warnings: &mut Option<report::Warnings>,
) -> Result<BuildResult, BuildError> {
    let planned = session.engine.plan(request, events, cancel)?;
    warnings.insert(report::Warnings::of(&planned)).emit(planned.vertex, events);
    let built = session.engine.build(request, planned, events, cancel);
    match built {
        // Nothing was handed out yet. A base image that is gone with what was damaged is pulled.
        Err(BuildError::Step { .. }) if !session.engine.drop_damaged(events)?.is_empty() => {
            let planned = session.engine.plan(request, events, cancel)?;
            session.engine.build(request, planned, events, cancel)
        }
        built => built,
    }
}

/// The first request to end cancels the build, which then cleans up; a second one does not wait.
/// A shell that may be opened is told of the terminal's size by way of `shell`.
fn cancel_on_signal(cancel: &Cancel, shell: Option<Control>) -> Result<Handler, Failure> {
    let (cancel, asked) = (cancel.clone(), AtomicBool::new(false));
    let mut all = signals::ENDING.to_vec();
    all.extend(shell.is_some().then_some(Signal::SIGWINCH));
    let handler = signals::handle_for_now(&all, move |signal| {
        if signal == Signal::SIGWINCH {
            if let (Some(shell), Some((rows, columns))) = (&shell, terminal::size()) {
                shell.resize(rows, columns);
            }
            return;
        }
        if asked.swap(true, Ordering::Relaxed) {
            // The containers die with this process, and what they leave is swept by the next one.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
                .ok();
        }
        cancel.cancel();
    })?;
    Ok(handler)
}
