//! What concerns the whole daemon: versions, networks that are always there, pruning, and clients of older API versions.

use crate::pair::Pair;
use gantry_testkit::program::run_with_input;
use gantry_testkit::world;

#[test]
fn facts() {
    if !world::enter("system::facts") {
        return;
    }
    let Some(pair) = Pair::start("facts") else {
        return;
    };
    pair.check(&[
        ("version --format '{{.Server.Os}} {{.Server.Arch}} {{.Server.KernelVersion}}'", 0),
        ("info --format '{{.OSType}} {{.Architecture}} {{.NCPU}} {{.MemTotal}} {{.KernelVersion}} {{.CgroupVersion}} {{.CgroupDriver}} {{.Driver}} {{.LoggingDriver}} {{.Swarm.LocalNodeState}}'", 0),
        ("info --format '{{.MemoryLimit}} {{.SwapLimit}} {{.CPUShares}} {{.CPUSet}} {{.PidsLimit}} {{.OomKillDisable}} {{.IPv4Forwarding}}'", 0),
        ("network ls --filter type=builtin --format '{{.Name}} {{.Driver}} {{.Scope}}'", 0),
        ("network inspect --format '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.Attachable}} {{.Ingress}}' bridge none host", 0),
        ("network inspect --format '{{len .Containers}}' none", 0),
        ("network inspect @absent", 1),
    ]);
    pair.finish();
}

#[test]
fn prune() {
    if !world::enter("system::prune") {
        return;
    }
    let Some(pair) = Pair::start("prune") else {
        return;
    };
    // Only what carries this label: the peer may hold things of others.
    let filter = "--force --filter label=gantry-prune-test";
    pair.check(&[
        ("create --name @a --label gantry-prune-test IMAGE true", 0),
        (
            "run -d --name @b --label gantry-prune-test IMAGE sleep 1000",
            0,
        ),
        ("create --name @c IMAGE true", 0),
        (&format!("container prune {filter}"), 0),
        ("ps -a --filter name=@ --format {{.Names}}", 0),
        (&format!("container prune {filter}"), 0),
        (&format!("image prune {filter}"), 0),
        ("container prune --force --filter nosuch=1", 1),
    ]);
    pair.finish();
}

#[test]
fn older_versions() {
    if !world::enter("system::older_versions") {
        return;
    }
    let Some(pair) = Pair::start("older") else {
        return;
    };
    pair.same("run -d --name @a -p 127.0.0.1:18483:80 --label l=v IMAGE sleep 1000");
    let name = pair.name("a");
    let format = "{{.State.Status}} {{.HostConfig.NetworkMode}} {{json .Config.Labels}} {{json .NetworkSettings.Ports}} {{json .HostConfig.PortBindings}}";
    let filter = format!("name={name}");
    let ps = "{{.Names}} {{.Image}} {{.State}} {{.Ports}} {{.Labels}}";
    for version in ["1.24", "1.30", "1.40", "1.43", "1.44", "1.47", "1.51"] {
        for words in [
            &["inspect", "--format", format, &name][..],
            &["ps", "--filter", &filter, "--format", ps],
            &["exec", &name, "echo", "works"],
            &[
                "image",
                "inspect",
                "--format",
                "{{.RepoTags}} {{.Os}} {{json .Config.Cmd}}",
                gantry_testkit::image::SHELL,
            ],
            &["version", "--format", "{{.Client.APIVersion}}"],
        ] {
            let commands = [
                pair.ours.docker_command(words),
                pair.peer.docker_command(words),
            ];
            let [ours, peer] = commands.map(|mut command| {
                command.env("DOCKER_API_VERSION", version);
                Pair::normal(&run_with_input(&mut command, b""))
            });
            assert_eq!(
                ours,
                peer,
                "left: Gantry, right: dockerd; version {version}, docker {}",
                words.join(" ")
            );
        }
    }
    for version in ["1.23", "9.99"] {
        let commands = [
            pair.ours.docker_command(&["ps"]),
            pair.peer.docker_command(&["ps"]),
        ];
        let [ours, peer] = commands.map(|mut command| {
            run_with_input(command.env("DOCKER_API_VERSION", version), b"").code
        });
        // Older ones than dockerd serves are answered here; newer ones are refused by both.
        assert!(
            ours == peer || version == "1.23",
            "version {version}: {ours} and {peer}"
        );
    }
    pair.finish();
}
