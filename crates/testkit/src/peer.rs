//! A real dockerd to compare with, named by `GANTRY_PEER_SOCKET`.

use crate::http::Client;
use crate::program::{self, Finished, command};
use std::path::PathBuf;
use std::process::Command;

/// The other daemon.
pub struct Peer {
    /// Its socket.
    pub socket: PathBuf,
    docker: PathBuf,
}

impl Peer {
    /// The peer that the environment names; none, with a word on stderr, if there is none or no `docker` command line.
    ///
    /// # Panics
    /// When one is named that does not answer.
    pub fn find() -> Option<Self> {
        let docker = program::docker()?;
        let Some(name) = std::env::var_os("GANTRY_PEER_SOCKET") else {
            eprintln!("skipped: GANTRY_PEER_SOCKET names no dockerd to compare with");
            return None;
        };
        let name = PathBuf::from(name);
        let socket = name
            .to_str()
            .and_then(|n| n.strip_prefix("unix://"))
            .map_or(name.clone(), PathBuf::from);
        let peer = Self { socket, docker };
        peer.client()
            .request("GET", "/_ping", None)
            .unwrap_or_else(|e| panic!("GANTRY_PEER_SOCKET: {e}"));
        Some(peer)
    }

    /// A connection to it.
    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// A command of the real `docker` command line against it.
    pub fn docker_command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.docker, arguments);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command
    }

    /// Runs the real `docker` command line against it.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> Finished {
        program::run(&mut self.docker_command(arguments))
    }
}
