//! Images through the real command line: load, save, import, tag, inspect, remove, history.

use crate::pair::{Pair, run_here};
use crate::registry::push_image_for;
use gantry_testkit::daemon::Daemon;
use gantry_testkit::image::{SHELL, import_shell, shell_archive};
use gantry_testkit::program::docker;
use gantry_testkit::registry::Registry;
use gantry_testkit::world;

#[test]
fn archives_go_from_one_to_the_other() {
    if !world::enter("image::archives_go_from_one_to_the_other") {
        return;
    }
    let Some(pair) = Pair::start("archives") else {
        return;
    };
    let folder = std::env::temp_dir().join(format!("gantry-conformance-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = |name: &str| folder.join(name).display().to_string();
    let (from_peer, from_ours) = (path("peer.tar"), path("ours.tar"));
    pair.peer.docker(&["save", "-o", &from_peer, SHELL]).ok();
    pair.ours.docker(&["save", "-o", &from_ours, SHELL]).ok();
    pair.ours.docker(&["rmi", SHELL]).ok();
    for archive in [&from_peer, &from_ours] {
        let loaded = pair.ours.docker(&["load", "-i", archive]);
        assert_eq!(
            loaded.ok().lines().last(),
            Some(format!("Loaded image: {SHELL}").as_str())
        );
        assert_eq!(
            pair.ours
                .docker(&["run", "--rm", SHELL, "echo", "works"])
                .ok(),
            "works"
        );
    }
    // What we save, dockerd takes; under a name of its own, so that the image of other tests stays.
    pair.ours
        .docker(&["tag", SHELL, "gantry-test/handed:1"])
        .ok();
    pair.ours
        .docker(&["save", "-o", &from_ours, "gantry-test/handed:1"])
        .ok();
    pair.peer.docker(&["load", "-i", &from_ours]).ok();
    assert_eq!(
        pair.peer
            .docker(&["run", "--rm", "gantry-test/handed:1", "echo", "works"])
            .ok(),
        "works"
    );
    pair.peer.docker(&["rmi", "gantry-test/handed:1"]).ok();
    let broken = path("broken.tar");
    std::fs::write(&broken, b"this is no archive").expect("a file");
    assert_ne!(pair.ours.docker(&["load", "-i", &broken]).code, 0);
    run_here("rm", &["-r", &folder.display().to_string()]).ok();
    pair.finish();
}

#[test]
fn the_tree_is_drawn_as_docker_draws_it() {
    if !world::enter("image::the_tree_is_drawn_as_docker_draws_it") || docker().is_none() {
        return;
    }
    let registry = Registry::start();
    push_image_for(&registry, "a/b", "amd", "amd64");
    push_image_for(&registry, "a/b", "arm", "arm64");
    let name = |tag: &str| format!("{}/a/b:{tag}", registry.host());
    let mut daemon = Daemon::new("tree");
    assert!(daemon.start(""), "{}", daemon.log_text());
    for tag in ["amd", "arm"] {
        daemon.gantry(&["pull", &name(tag)]).ok();
    }
    import_shell(&mut daemon.client());
    daemon.gantry(&["tag", &name("arm"), "another:1"]).ok();
    daemon
        .gantry(&["tag", &name("arm"), &name("with-a-longer-name")])
        .ok();
    for options in [
        &[][..],
        &["-a"],
        &["another"],
        &["--filter", "reference=*/*/b:amd"],
        &["--quiet"],
        &["--no-trunc"],
        &["--digests"],
        &["--format", "x"],
    ] {
        let mut words = vec!["image", "ls", "--tree"];
        words.extend(options);
        assert_eq!(daemon.gantry(&words), daemon.docker(&words), "{options:?}");
    }
}

#[test]
fn names_and_texts() {
    if !world::enter("image::names_and_texts") {
        return;
    }
    let Some(pair) = Pair::start("images") else {
        return;
    };
    let import = "import --change 'CMD [\"echo\", \"hi\"]' --message made - gantry-test/imported:1";
    assert_eq!(pair.same_with_input(import, &shell_archive()).code, 0);
    for (command, code) in [
        ("run --rm gantry-test/imported:1", 0),
        ("tag gantry-test/imported:1 gantry-test/imported:2", 0),
        ("tag gantry-test/absent:1 gantry-test/imported:2", 1),
        ("tag gantry-test/imported:1 Not/Valid", 1),
        (
            "inspect --format {{.RepoTags}}{{.Os}}{{.Config.Cmd}} gantry-test/imported:1",
            0,
        ),
        ("image inspect gantry-test/absent:1", 1),
        (
            "images --format {{.Repository}}:{{.Tag}} gantry-test/imported",
            0,
        ),
        ("history --format {{.Comment}} gantry-test/imported:1", 0),
        ("rmi gantry-test/imported:2", 0),
        (
            "images --format '{{.Repository}}:{{.Tag}} {{.Size}}' gantry-test/imported",
            0,
        ),
        ("run --name @user gantry-test/imported:1", 0),
        ("rmi gantry-test/imported:1", 1),
        ("rm @user", 0),
        ("rmi gantry-test/imported:1", 0),
        ("rmi gantry-test/imported:1", 1),
    ] {
        assert_eq!(pair.same(command).code, code, "{command}");
    }
    pair.finish();
}
