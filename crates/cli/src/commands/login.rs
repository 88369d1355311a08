//! `bld login`, `bld logout`

use std::io::{self, IsTerminal as _, Read as _};

use bld_engine::login::Login;

use crate::error::Failure;
use crate::session::{Outcome, Session};
use crate::terminal;

/// Longest password that is read from standard input, in bytes.
const PASSWORD_MAX: u64 = 1 << 20;

/// Log in to a registry: check the credentials there, and keep them for the other commands
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Password or personal access token
    #[arg(short, long, value_name = "string")]
    password: Option<String>,
    /// Take the password from standard input
    #[arg(long)]
    password_stdin: bool,
    /// Username
    #[arg(short, long, value_name = "string")]
    username: Option<String>,
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

/// Log out from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    #[arg(value_name = "SERVER")]
    server: Option<String>,
}

pub(crate) fn run(args: Args, session: &Session) -> Outcome {
    let server = args.server.as_deref().unwrap_or("docker.io").to_owned();
    if args.password.is_some() && args.password_stdin {
        return Err(Failure::new("--password and --password-stdin are mutually exclusive"));
    }
    let known = args.username.is_none() && args.password.is_none() && !args.password_stdin;
    if known && let Some(login) = session.engine.login_again(&server)? {
        session.tell(&format!("Authenticating with existing credentials for {}...", login.server));
        session.say("Login Succeeded")?;
        return Ok(0);
    }
    let (username, password) = ask(args, session)?;
    let login = session.engine.login(&server, &username, &password)?;
    warn(session, &login);
    session.say("Login Succeeded")?;
    Ok(0)
}

/// Name and password, by flags, from standard input, or asked for.
fn ask(args: Args, session: &Session) -> Result<(String, String), Failure> {
    if args.password_stdin {
        let username = args.username.filter(|name| !name.is_empty());
        let username = username
            .ok_or_else(|| Failure::new("Must provide --username with --password-stdin"))?;
        let mut password = String::new();
        io::stdin().take(PASSWORD_MAX).read_to_string(&mut password)?;
        let end = password.trim_end_matches(['\r', '\n']).len();
        password.truncate(end);
        return if password.is_empty() {
            Err(Failure::new("password is empty: standard input has none"))
        } else {
            Ok((username, password))
        };
    }
    if args.password.is_some() {
        session.tell("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
    }
    let typed = |known: Option<String>, question, secret, what| match known {
        Some(word) if !word.is_empty() => Ok(word),
        _ if !io::stdin().is_terminal() => Err(Failure::new(format!(
            "Cannot perform an interactive login from a non TTY device: give the {what} with flags"
        ))
        .with_hint("bld login -u NAME --password-stdin SERVER <FILE")),
        _ => match terminal::ask(question, secret)? {
            word if word.is_empty() => Err(Failure::new(format!("{what} is required"))),
            word => Ok(word),
        },
    };
    let username = typed(args.username, "Username: ", false, "username")?;
    let password = typed(args.password, "Password: ", true, "password")?;
    Ok((username, password))
}

fn warn(session: &Session, login: &Login) {
    if let Some(file) = &login.in_clear {
        session.tell(&format!(
            "WARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential \
             helper (\"credsStore\") there to remove this warning.",
            file.display()
        ));
    }
}

pub(crate) fn logout(args: &LogoutArgs, session: &Session) -> Outcome {
    let server = args.server.as_deref().unwrap_or("docker.io");
    let logout = session.engine.logout(server)?;
    session.say(&format!("Removing login credentials for {}", logout.server))?;
    Ok(0)
}
