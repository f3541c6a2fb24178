//! Volumes: named and anonymous ones, what containers find in them, and what may be removed.

use crate::pair::Pair;
use gantry_testkit::world;

#[test]
fn commands() {
    if !world::enter("volume::commands") {
        return;
    }
    let Some(pair) = Pair::start("volume-cmd") else {
        return;
    };
    let shown = "--format '{{.Name}} {{.Driver}} {{.Scope}} {{json .Labels}} {{json .Options}}'";
    pair.check(&[
        ("volume create @a", 0),
        ("volume create @a", 0),
        ("volume create --label k=v @b", 0),
        (&format!("volume inspect {shown} @a @b"), 0),
        ("volume inspect @nope", 1),
        ("volume ls --filter name=@", 0),
        ("volume ls --filter label=k=v --filter name=@ -q", 0),
        ("volume ls --filter nosuch=1", 1),
        ("volume create x", 1),
        ("volume create bad/name", 1),
        ("volume create --driver nosuch @c", 1),
        ("volume create --opt nosuch=1 @c", 1),
        ("run -d --name @user -v @a:/data IMAGE sleep 1000", 0),
        ("volume rm @a", 1),
        ("volume rm -f @a", 1),
        ("volume ls --filter dangling=true --filter name=@ -q", 0),
        ("volume ls --filter dangling=false --filter name=@ -q", 0),
        ("rm -f @user", 0),
        ("volume rm @a @b", 0),
        ("volume rm @a", 1),
        ("volume rm -f @a", 0),
        ("volume create --label gantry-volume-test", 0),
        ("volume create --label gantry-volume-test @d", 0),
        ("volume prune --force --filter label=gantry-volume-test", 0),
        (
            "volume prune --force --all --filter label=gantry-volume-test",
            0,
        ),
        ("volume ls --filter name=@ -q", 0),
        // What has every unwanted label stays; one alone does not keep it.
        ("volume create --label gantry-volume-test --label k @one", 0),
        (
            "volume create --label gantry-volume-test --label k --label l @both",
            0,
        ),
        (
            "volume prune --force --all --filter label=gantry-volume-test --filter label!=k --filter label!=l",
            0,
        ),
        ("volume rm @one", 1),
        ("volume rm @both", 0),
    ]);
    pair.finish();
}

#[test]
fn contents() {
    if !world::enter("volume::contents") {
        return;
    }
    let Some(pair) = Pair::start("volume-data") else {
        return;
    };
    // dockerd lists them in any order.
    let mount = |destination: &str| {
        format!(
            "inspect --format '{{{{range .Mounts}}}}{{{{if eq .Destination \"{destination}\"}}}}{{{{.Type}}}} {{{{.Mode}}}} \
             {{{{.RW}}}} {{{{.Driver}}}}{{{{end}}}}{{{{end}}}}' @kept"
        )
    };
    pair.check(&[
        // What the image has in its place is copied once, at the create.
        ("create --name @first -v @a:/etc IMAGE true", 0),
        ("run --rm -v @a:/x IMAGE ls /x", 0),
        ("run --rm -v @a:/x:ro IMAGE touch /x/new", 1),
        (
            "run --rm -v @a:/x IMAGE sh -c 'rm -r /x/*; echo mine > /x/only'",
            0,
        ),
        ("run --rm -v @a:/etc IMAGE ls /etc/only", 0),
        ("run --rm -v @b:/etc:nocopy IMAGE ls /etc/passwd", 1),
        (
            "run --rm --mount type=volume,src=@c,dst=/etc,volume-nocopy IMAGE ls /etc/passwd",
            1,
        ),
        ("run --rm -v /anonymous IMAGE ls -ld /anonymous/..", 0),
        (
            "run -d --name @kept -v /anonymous -v @a:/named -v @a:/ro:ro IMAGE sleep 1000",
            0,
        ),
        ("exec @kept sh -c 'echo x > /anonymous/x; ls /named /ro'", 0),
        ("restart -t 0 @kept", 0),
        ("exec @kept cat /anonymous/x", 0),
        (&mount("/named"), 0),
        (&mount("/ro"), 0),
        (&mount("/anonymous"), 0),
        ("rm -f -v @kept", 0),
        ("rm @first", 0),
        // A named one stays.
        ("volume ls --filter name=@ -q", 0),
        ("volume rm @a @b @c", 0),
    ]);
    pair.finish();
}
