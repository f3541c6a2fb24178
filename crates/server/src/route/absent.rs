//! Routes of Docker's API that are not served yet. Each is refused by name; the swarm's in the words of a node outside of one.

use super::{State, route};
use crate::app::Serve;
use crate::hijack::BoxFuture;
use crate::request::{Request, quoted};
use crate::response::{self, Response};
use crate::router::Router;
use gantry_base::{Error, ErrorKind, Result};
use hyper::Method;

const NO_MANAGER: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.";

/// What is not there, by method and path.
const ABSENT: [(Method, &str, Serve<State>); 8] = [
    (Method::GET, "/containers/{}/attach/ws", |_, _| {
        refuse("attaching by websocket")
    }),
    (Method::POST, "/build", |_, _| refuse("docker build")),
    (Method::POST, "/build/cancel", |_, _| refuse("docker build")),
    (Method::POST, "/session", |_, _| refuse("docker build")),
    (Method::POST, "/grpc", |_, _| refuse("docker build")),
    (Method::GET, "/images/{}/attestations", |_, _| {
        refuse("image attestations")
    }),
    (Method::GET, "/plugins/privileges", |_, _| {
        refuse("docker plugin")
    }),
    (Method::POST, "/plugins/pull", |_, _| {
        refuse("docker plugin")
    }),
];

/// What only a manager of a swarm answers.
const SWARM: [(Method, &str); 27] = [
    (Method::GET, "/swarm"),
    (Method::GET, "/swarm/unlockkey"),
    (Method::POST, "/swarm/update"),
    (Method::POST, "/swarm/unlock"),
    (Method::GET, "/nodes"),
    (Method::GET, "/nodes/{}"),
    (Method::DELETE, "/nodes/{}"),
    (Method::POST, "/nodes/{}/update"),
    (Method::GET, "/services"),
    (Method::POST, "/services/create"),
    (Method::GET, "/services/{}/logs"),
    (Method::GET, "/services/{}"),
    (Method::DELETE, "/services/{}"),
    (Method::POST, "/services/{}/update"),
    (Method::GET, "/tasks"),
    (Method::GET, "/tasks/{}/logs"),
    (Method::GET, "/tasks/{}"),
    (Method::GET, "/secrets"),
    (Method::POST, "/secrets/create"),
    (Method::GET, "/secrets/{}"),
    (Method::DELETE, "/secrets/{}"),
    (Method::POST, "/secrets/{}/update"),
    (Method::GET, "/configs"),
    (Method::POST, "/configs/create"),
    (Method::GET, "/configs/{}"),
    (Method::DELETE, "/configs/{}"),
    (Method::POST, "/configs/{}/update"),
];

pub(super) fn add(router: &mut Router<Serve<State>>) {
    for (method, path, handler) in ABSENT {
        router.add(method, path, handler);
    }
    for (method, path) in SWARM {
        router.add(method, path, |_, _| {
            Box::pin(async { Err(unavailable(NO_MANAGER)) })
        });
    }
    route!(router, POST "/swarm/leave", leave);
    router.add(Method::POST, "/swarm/init", |_, _| refuse("docker swarm"));
    router.add(Method::POST, "/swarm/join", |_, _| refuse("docker swarm"));
    route!(router, GET "/plugins", plugins);
    route!(router, GET "/plugins/{}/json", plugin);
    route!(router, DELETE "/plugins/{}", plugin);
    route!(router, GET "/containers/{}/checkpoints", checkpoints);
    route!(router, POST "/containers/{}/checkpoints", checkpoints);
}

fn refuse(what: &'static str) -> BoxFuture<Result<Response>> {
    Box::pin(async move {
        Err(Error::not_implemented(format!(
            "{what} is not supported yet"
        )))
    })
}

fn unavailable(text: &str) -> Error {
    Error::new(ErrorKind::Unavailable, text)
}

async fn leave(_: State, _: Request) -> Result<Response> {
    Err(unavailable("This node is not part of a swarm"))
}

/// Nothing can be installed, so that no plugin is.
async fn plugins(_: State, _: Request) -> Result<Response> {
    Ok(response::ok(&[(); 0]))
}

async fn plugin(_: State, request: Request) -> Result<Response> {
    Err(Error::not_found(format!(
        "plugin {} not found",
        quoted(&request.name)
    )))
}

async fn checkpoints(_: State, _: Request) -> Result<Response> {
    Err(Error::not_implemented(
        "This experimental feature is disabled by default. Start the Docker daemon in experimental mode in order to enable it.",
    ))
}
