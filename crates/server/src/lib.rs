//! Docker's HTTP API over the engine: routes that turn wire types into domain calls and views into wire types.
//!
//! Decides nothing and touches no database. Start reading at [`serve`]; routes are in `route/`, differences between API versions
//! in `version.rs`.

mod app;
mod body;
mod connection;
mod hijack;
mod listener;
mod origin;
mod request;
mod response;
mod route;
mod router;
mod time;
mod version;

pub use connection::Server;
pub use listener::{Listener, SocketFile};

use app::App;
use gantry_engine::Engine;

/// How clients are served.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names beside addresses and `localhost` by which TCP clients may ask for this daemon.
    pub host_names: Vec<String>,
}

/// Serves the API on `listeners` from now on, in tasks of the current tokio runtime.
pub fn serve(engine: Engine, listeners: Vec<Listener>, options: Options) -> Server {
    let state = route::State { engine };
    connection::start(
        App {
            router: route::router(),
            state,
            host_names: options.host_names,
        },
        listeners,
    )
}
