//! What one invocation shares: the program's name, the configuration file, the client, the runtime.
//!
//! Everything is made when it is first used, so that `--help` opens nothing.

use crate::config_file::{self, ConfigFile};
use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::remote::Registries;
use gantry_api::client::{Client, Endpoint, Options};
use std::cell::OnceCell;
use std::future::Future;
use std::path::Path;

const GANTRY_SOCKET: &str = "/run/gantry/gantry.sock";
const DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// One invocation of the program.
pub(crate) struct Session {
    /// `docker` or `gantry`, as the user called it.
    pub(crate) program: &'static str,
    globals: Given,
    registries: Option<&'static dyn Registries>,
    config: OnceCell<ConfigFile>,
    client: OnceCell<Client>,
    runtime: OnceCell<tokio::runtime::Runtime>,
}

impl Session {
    /// Opens nothing yet. `globals` are the flags before the command.
    pub(crate) fn new(
        program: &'static str,
        globals: Given,
        registries: Option<&'static dyn Registries>,
    ) -> Self {
        Self {
            program,
            globals,
            registries,
            config: OnceCell::new(),
            client: OnceCell::new(),
            runtime: OnceCell::new(),
        }
    }
    /// The configuration file.
    pub(crate) fn config(&self) -> &ConfigFile {
        self.config
            .get_or_init(|| ConfigFile::read(&config_file::directory(self.globals.text("config"))))
    }
    /// Where the configuration file is.
    pub(crate) fn config_directory(&self) -> std::path::PathBuf {
        config_file::directory(self.globals.text("config"))
    }
    /// The client; it connects with its first request.
    ///
    /// # Errors
    /// An address or an option that is not supported.
    pub(crate) fn client(&self) -> Outcome<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = self.open_client()?;
        Ok(self.client.get_or_init(|| client))
    }
    /// The way to registries without the daemon.
    ///
    /// # Errors
    /// When this program was built without one.
    pub(crate) fn registries(&self) -> Outcome<&'static dyn Registries> {
        self.registries
            .ok_or_else(|| Failure::new("this program cannot speak to registries by itself"))
    }
    /// Runs `future` to its end on this thread.
    ///
    /// # Errors
    /// What `future` returns; or the system gives us no event queue.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let runtime = if let Some(runtime) = self.runtime.get() {
            runtime
        } else {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            self.runtime.get_or_init(|| runtime)
        };
        runtime.block_on(future)
    }

    fn open_client(&self) -> Outcome<Client> {
        self.refuse_tls()?;
        let config = self.config();
        let endpoint = self.endpoint(config)?;
        let options = Options {
            pinned_version: environment("DOCKER_API_VERSION")
                .map(|version| version.trim_start_matches('v').to_owned()),
            headers: config
                .http_headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            user_agent: format!(
                "Gantry-Client/{} ({})",
                env!("CARGO_PKG_VERSION"),
                std::env::consts::OS
            ),
        };
        Ok(Client::new(endpoint, options)?)
    }

    fn endpoint(&self, config: &ConfigFile) -> Outcome<Endpoint> {
        let hosts = self.globals.list("host");
        if hosts.len() > 1 {
            return Err(Failure::new("specify only one -H"));
        }
        let context = self.globals.text("context");
        if let Some(host) = hosts.first() {
            if !context.is_empty() {
                return Err(Failure::new(
                    "conflicting options: cannot specify both --host and --context",
                ));
            }
            return parse_endpoint(host);
        }
        let is_gantry = self.program == "gantry";
        let from_environment = is_gantry
            .then(|| environment("GANTRY_HOST"))
            .flatten()
            .or_else(|| environment("DOCKER_HOST"));
        if context.is_empty()
            && let Some(host) = from_environment
        {
            return parse_endpoint(&host);
        }
        let from_environment = environment("DOCKER_CONTEXT");
        let context = match (context, &from_environment) {
            ("", Some(context)) => context.as_str(),
            ("", None) => config.current_context.as_str(),
            (context, _) => context,
        };
        if !matches!(context, "" | "default") {
            return Err(Failure::new(format!(
                "context {context:?}: contexts are not supported yet; name the daemon with -H or DOCKER_HOST"
            )));
        }
        let is_ours =
            is_gantry && (Path::new(GANTRY_SOCKET).exists() || !Path::new(DOCKER_SOCKET).exists());
        Ok(Endpoint::Unix(
            if is_ours {
                GANTRY_SOCKET
            } else {
                DOCKER_SOCKET
            }
            .into(),
        ))
    }

    fn refuse_tls(&self) -> Outcome {
        for name in ["tls", "tlsverify"] {
            if self.globals.bool(name) {
                return Err(Failure::new(format!(
                    "--{name}: connections with TLS are not supported yet"
                )));
            }
        }
        for name in ["tlscacert", "tlscert", "tlskey"] {
            if self.globals.is_given(name) {
                return Err(Failure::new(format!(
                    "--{name}: connections with TLS are not supported yet"
                )));
            }
        }
        for name in ["DOCKER_TLS", "DOCKER_TLS_VERIFY"] {
            if environment(name).is_some() {
                return Err(Failure::new(format!(
                    "{name}: connections with TLS are not supported yet"
                )));
            }
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Nothing that still runs may delay the end: what it was for is over.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn parse_endpoint(host: &str) -> Outcome<Endpoint> {
    Endpoint::parse(host).map_err(|error| {
        Failure::new(format!(
            "Failed to initialize: unable to resolve docker endpoint: {error}"
        ))
    })
}

/// `--platform`, or `DOCKER_DEFAULT_PLATFORM`.
pub(crate) fn platform(given: &Given) -> String {
    match given.text("platform") {
        "" => environment("DOCKER_DEFAULT_PLATFORM").unwrap_or_default(),
        platform => platform.to_owned(),
    }
}

/// A variable that is set and not empty.
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
