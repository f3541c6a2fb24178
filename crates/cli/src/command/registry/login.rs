//! `docker login`

use crate::command::{Arity, Command};
use crate::credentials::{self, Credentials};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::session::Session;
use crate::terminal;
use gantry_api::client::Request;
use gantry_api::types::{AuthConfig, AuthResponse};
use gantry_oci::reference::DEFAULT_DOMAIN;
use std::io::{BufRead as _, Read as _};

pub(crate) static COMMAND: Command = Command {
    group: "",
    names: &["login"],
    top_level: Some("login"),
    arguments: "[OPTIONS] [SERVER]",
    about: "Authenticate to a registry",
    arity: Arity::AtMost(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::text("password", "Password or Personal Access Token (PAT)").short('p'),
        Flag::boolean(
            "password-stdin",
            "Take the Password or Personal Access Token (PAT) from stdin",
        ),
        Flag::text("username", "Username").short('u'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    check(given)?;
    let mut password = given.text("password").to_owned();
    if !password.is_empty() {
        output::print_error_line(
            "WARNING! Using --password via the CLI is insecure. Use --password-stdin.",
        );
    }
    if given.bool("password-stdin") {
        password = from_stdin()?;
    }
    let server = match given.arguments.first().map_or("", String::as_str) {
        "" | DEFAULT_DOMAIN => credentials::HUB,
        credentials::HUB => credentials::HUB,
        server => credentials::host_of(server),
    };
    let user = given.text("username");
    let stored = credentials::get(session.config(), server)?;
    if user.is_empty() && password.is_empty() && !stored.username.is_empty() {
        output::print_error_line(&format!(
            "Authenticating with existing credentials... [Username: {}]\n",
            stored.username
        ));
        match attempt(session, &stored) {
            Ok(status) => {
                output::print_line(&status);
                return Ok(());
            }
            Err(failure) => output::print_error_line(&format!(
                "Login did not succeed, error: {}",
                failure.message
            )),
        }
    }
    if (user.is_empty() || password.is_empty()) && !terminal::stdin_is_terminal() {
        return Err(Failure::new(
            "Error: Cannot perform an interactive login from a non TTY device",
        ));
    }
    let username = if user.is_empty() {
        asked("Username", &stored.username)?
    } else {
        user.to_owned()
    };
    if password.is_empty() {
        output::print("Password: ");
        password = terminal::without_echo(read_line)?;
        output::print("\n");
    }
    if password.is_empty() {
        return Err(Failure::new("Error: Password Required"));
    }
    let given = Credentials {
        username,
        password,
        server: server.to_owned(),
        ..Credentials::default()
    };
    let status = attempt(session, &given)?;
    output::print_line(&status);
    Ok(())
}

fn check(given: &Given) -> Outcome {
    if given.bool("password-stdin") {
        if given.is_given("password") {
            return Err(Failure::new(
                "--password and --password-stdin are mutually exclusive",
            ));
        }
        if given.text("username").is_empty() {
            return Err(Failure::new(
                "Must provide --username with --password-stdin",
            ));
        }
    }
    Ok(())
}

/// Asks the registry, and keeps what it took.
fn attempt(session: &Session, credentials: &Credentials) -> Outcome<String> {
    let body = AuthConfig {
        username: credentials.username.clone(),
        password: credentials.password.clone(),
        server_address: credentials.server.clone(),
        identity_token: credentials.identity_token.clone(),
        ..AuthConfig::default()
    };
    let client = session.client()?;
    let answer: AuthResponse = session.block_on(async {
        let request = Request::post("/auth").json(&body)?;
        Ok(client.send(request).await?.json().await?)
    })?;
    let mut kept = credentials.clone();
    if !answer.identity_token.is_empty() {
        kept.password.clear();
        kept.identity_token = answer.identity_token;
    }
    let directory = session.config_directory();
    if credentials::store(session.config(), &directory, &kept)? {
        let path = directory.join("config.json");
        output::print_error_line(&format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            path.display()
        ));
    }
    Ok(answer.status)
}

fn from_stdin() -> Outcome<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::new(gantry_base::Error::from(error).to_string()))?;
    let end = ["\r\n", "\n", "\r"]
        .into_iter()
        .find(|end| text.ends_with(end));
    text.truncate(text.len() - end.map_or(0, str::len));
    Ok(text)
}

fn asked(what: &str, default: &str) -> Outcome<String> {
    output::print(&if default.is_empty() {
        format!("{what}: ")
    } else {
        format!("{what} ({default}): ")
    });
    let answer = read_line()?;
    match (answer.trim(), default) {
        ("", "") => Err(Failure::new("Error: Non-null Username Required")),
        ("", default) => Ok(default.to_owned()),
        (answer, _) => Ok(answer.to_owned()),
    }
}

fn read_line() -> Outcome<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::new(gantry_base::Error::from(error).to_string()))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
