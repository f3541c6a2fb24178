//! Flags of `create` and `run`: the request that each becomes, and the refusal of what is wrong.

use crate::fake_api::Reply;
use crate::golden::World;

const ID: &str = "1f2e3d4c5b6a79880123456789abcdef0123456789abcdef0123456789abcdef";

const FILES: &[(&str, &str)] = &[
    (
        "env.list",
        "# a comment\nA=1\n  B=two words\nFROM_OUTSIDE\nUNSET_VARIABLE\n\nC=\n",
    ),
    ("labels.list", "one=1\ntwo\n"),
    ("bad-env.list", "=x\n"),
    ("spaces-env.list", "a b=c\n"),
    (
        "seccomp.json",
        "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\",\n  \"syscalls\": [ ]\n}\n",
    ),
    ("taken.cid", "x"),
];

fn world() -> World {
    World::new(FILES, |request| match request.path.split('?').next() {
        Some("/containers/create") => {
            Reply::Json(201, format!(r#"{{"Id":"{ID}","Warnings":["a warning"]}}"#))
        }
        Some(path) if path.ends_with("/wait") => Reply::Json(200, r#"{"StatusCode":0}"#.into()),
        Some(path) if path.ends_with("/start") => Reply::Json(204, String::new()),
        _ => Reply::Json(500, r#"{"message":"not in the script"}"#.into()),
    })
}

#[test]
fn every_flag_becomes_what_docker_sends() {
    world().compare("create");
}

#[test]
fn wrong_flags_are_refused_in_dockers_words() {
    world().compare("refused");
}
