//! The routes: a file per noun, which turns requests into calls of the engine and its views into wire types.

#![expect(clippy::unused_async, reason = "all handlers have one signature")]

mod absent;
mod container;
mod disk_usage;
mod event;
mod exec;
mod image;
mod keys;
mod network;
mod system;
mod volume;

use crate::app::Serve;
use crate::router::Router;
use gantry_engine::Engine;

/// What handlers work on.
#[derive(Clone)]
pub(crate) struct State {
    pub engine: Engine,
}

/// Adds a route served by an async function.
macro_rules! route {
    ($router:ident, $method:ident $path:literal, $handler:expr) => {
        $router.add(hyper::Method::$method, $path, |state, request| {
            Box::pin($handler(state, request))
        })
    };
}
use route;

/// All routes.
pub(crate) fn router() -> Router<Serve<State>> {
    let mut router = Router::new();
    container::add(&mut router);
    exec::add(&mut router);
    image::add(&mut router);
    network::add(&mut router);
    volume::add(&mut router);
    system::add(&mut router);
    event::add(&mut router);
    disk_usage::add(&mut router);
    absent::add(&mut router);
    router
}
