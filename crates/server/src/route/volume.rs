//! `/volumes/…`. Volumes exist as directories of containers so far; the noun has no verbs yet.

use super::{State, route};
use crate::app::Serve;
use crate::request::Request;
use crate::response::Response;
use crate::router::Router;
use gantry_base::{Error, Result};

pub(super) fn add(router: &mut Router<Serve<State>>) {
    route!(router, GET "/volumes", refuse);
    route!(router, POST "/volumes/create", refuse);
    route!(router, POST "/volumes/prune", refuse);
    route!(router, GET "/volumes/{}", refuse);
    route!(router, PUT "/volumes/{}", refuse);
    route!(router, DELETE "/volumes/{}", refuse);
}

async fn refuse(_: State, _: Request) -> Result<Response> {
    Err(Error::not_implemented(
        "volume commands are not supported yet",
    ))
}
