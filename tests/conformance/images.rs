//! Images: import, tag, save, load, inspect, rm.

use crate::both::{Both, IMAGE};
use gantry_testkit::world;

#[test]
fn images_travel_between_the_daemons() {
    if !world::enter("images::images_travel_between_the_daemons") {
        return;
    }
    let Some(both) = Both::start("img") else { return };
    both.same("tag IMAGE @x:1");
    both.same("image inspect -f '{{.Os}} {{.Architecture}} {{json .Config.Cmd}} {{len .RootFS.Layers}} {{.RootFS.Type}}' @x:1");
    both.same("images --format '{{.Repository}}:{{.Tag}} {{.Size}}' @x");
    both.same("history --format '{{.Size}} {{.Comment}}' @x:1");
    both.same("run --name @a -d @x:1 sleep 1000");
    both.same("rmi @x:1");
    both.same("rm -f @a");
    both.same("rmi @x:1");
    both.same("rmi @x:1");
    travel(&both);
    both.each("rmi -f @y:1");
    both.ours.assert_clean("images");
}

/// What one daemon saves, the other loads, with the same id.
fn travel(both: &Both) {
    let id = |host: &str| both.docker(host, &["image", "inspect", "-f", "{{.Id}} {{json .RootFS.Layers}}", IMAGE], b"").stdout;
    let Some(peer) = both.peer.clone() else { return };
    let ours = both.ours.host();
    for (from, to) in [(&ours, &peer), (&peer, &ours)] {
        let output = both.command(from, &["save", IMAGE]).output().expect("saves");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let loaded = both.docker(to, &["load"], &output.stdout);
        assert_eq!(loaded.code, Some(0), "{loaded:?}");
        assert!(loaded.stdout.contains(&format!("Loaded image: {IMAGE}")), "{loaded:?}");
        assert_eq!(id(from), id(to), "the id changed on its way from {from} to {to}");
        let run = both.docker(to, &["run", "--rm", IMAGE, "echo", "travelled"], b"");
        assert_eq!((run.stdout.as_str(), run.code), ("travelled\n", Some(0)), "{run:?}");
    }
}
