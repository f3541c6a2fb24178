//! What is printed of the daemon's answers: tables, templates, inspections, errors, help.

use crate::fake_api::{Recorded, Reply};
use crate::golden::World;

const PROGRESS: &str = concat!(
    r#"{"status":"Pulling from library/busybox","id":"latest"}"#,
    "\r\n",
    r#"{"status":"Pulling fs layer","progressDetail":{},"id":"a1"}"#,
    "\r\n",
    r#"{"status":"Downloading","progressDetail":{"current":10,"total":20},"progress":"x","id":"a1"}"#,
    "\r\n",
    r#"{"status":"Pull complete","progressDetail":{},"id":"a1"}"#,
    "\r\n",
    r#"{"status":"Digest: sha256:0123"}"#,
    "\r\n",
    r#"{"status":"Status: Downloaded newer image for busybox:latest"}"#,
    "\r\n",
);

fn world() -> World {
    World::new(&[], answer)
}

fn answer(request: &Recorded) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let text = match (request.method.as_str(), path) {
        ("GET", "/containers/json") => include_str!("answers/containers.json"),
        ("GET", "/containers/web/json") => include_str!("answers/container.json"),
        ("GET", "/images/json") => include_str!("answers/images.json"),
        ("GET", "/images/busybox/json") => include_str!("answers/image.json"),
        ("GET", "/images/busybox/history") => include_str!("answers/history.json"),
        ("GET", "/networks") => include_str!("answers/networks.json"),
        ("GET", "/networks/bridge") => include_str!("answers/network.json"),
        ("GET", "/volumes") => include_str!("answers/volumes.json"),
        ("GET", "/events") => include_str!("answers/events.json"),
        ("GET", "/containers/web/top") => {
            r#"{"Titles":["UID","PID","CMD"],"Processes":[["root","1","sleep 1000"],["root","1234567","x"]]}"#
        }
        ("GET", "/info") => include_str!("answers/info.json"),
        ("DELETE", "/images/busybox") => {
            r#"[{"Untagged":"busybox:latest"},{"Deleted":"sha256:0123"}]"#
        }
        ("POST", "/containers/web/wait") => r#"{"StatusCode":3}"#,
        ("POST", "/containers/prune") => {
            r#"{"ContainersDeleted":["a","b"],"SpaceReclaimed":1234567}"#
        }
        ("POST", "/images/prune") => {
            r#"{"ImagesDeleted":[{"Untagged":"x:1"},{"Deleted":"sha256:ab"}],"SpaceReclaimed":5000}"#
        }
        (
            "POST",
            "/containers/web/stop"
            | "/containers/web/kill"
            | "/containers/web/restart"
            | "/containers/web/pause"
            | "/containers/web/unpause"
            | "/containers/web/rename"
            | "/containers/web/start",
        )
        | ("DELETE", "/containers/web") => return Reply::Json(204, String::new()),
        ("POST", "/images/busybox/tag") => return Reply::Json(201, String::new()),
        ("POST", "/containers/web/update") => r#"{"Warnings":["a warning"]}"#,
        ("GET", "/images/get") => return Reply::Bytes(200, "application/x-tar", b"tar".to_vec()),
        ("GET", "/containers/web/export") => {
            return Reply::Bytes(200, "application/x-tar", b"tar".to_vec());
        }
        ("POST", "/images/create") => {
            return Reply::Bytes(200, "application/json", PROGRESS.as_bytes().to_vec());
        }
        ("POST", "/images/load") => r#"{"stream":"Loaded image: busybox:latest\n"}"#,
        _ => {
            let name = path.split('/').nth(2).unwrap_or_default();
            let kind = path
                .split('/')
                .nth(1)
                .unwrap_or_default()
                .trim_end_matches('s');
            return Reply::Json(404, format!(r#"{{"message":"No such {kind}: {name}"}}"#));
        }
    };
    Reply::Json(200, text.to_owned())
}

#[test]
fn answers_are_shown_as_docker_shows_them() {
    world().compare("lists");
}

#[test]
fn wrong_command_lines_are_refused_in_dockers_words() {
    world().compare("usage");
}
