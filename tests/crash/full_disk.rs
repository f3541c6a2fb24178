//! A full disk: nothing new fits, but the daemon starts, containers end as they do, and what fills it can be removed.

use gantry_testkit::daemon::Daemon;
use gantry_testkit::image::{SHELL, import_shell};
use gantry_testkit::program::{command, run};
use gantry_testkit::world;
use std::io::Write as _;
use std::path::Path;

#[test]
fn what_fills_it_can_be_removed() {
    if !world::enter("full_disk::what_fills_it_can_be_removed") {
        return;
    }
    let mut daemon = Daemon::new("full-disk");
    let data = daemon.root().join("data");
    std::fs::create_dir_all(&data).expect("is made");
    let target = data.display().to_string();
    let size = "size=64m,mode=710";
    run(&mut command(
        "mount",
        ["-t", "tmpfs", "-o", size, "none", &target],
    ))
    .ok();
    assert!(daemon.start(""), "{}", daemon.log_text());
    import_shell(&mut daemon.client());
    let talk = "while :; do echo line; sleep 0.01; done";
    daemon
        .gantry(&["run", "-d", "--name", "talker", SHELL, "sh", "-c", talk])
        .ok();
    daemon
        .gantry(&["create", "--name", "made", SHELL, "true"])
        .ok();
    daemon.gantry(&["volume", "create", "vol"]).ok();
    daemon.gantry(&["network", "create", "net"]).ok();
    fill(&data.join("filler"));

    let written = daemon.gantry(&[
        "exec",
        "talker",
        "dd",
        "if=/dev/zero",
        "of=/big",
        "bs=1M",
        "count=1",
    ]);
    assert_ne!(written.code, 0, "{written:?}");
    daemon.gantry(&["stop", "-t", "0", "talker"]).ok();
    daemon.kill();
    assert!(daemon.start(""), "on a full disk: {}", daemon.log_text());
    let states = daemon.gantry(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    let mut states: Vec<&str> = states.ok().lines().collect();
    states.sort_unstable();
    assert_eq!(states, ["made created", "talker exited"]);
    daemon.gantry(&["rm", "made", "talker"]).ok();
    daemon.gantry(&["volume", "rm", "vol"]).ok();
    daemon.gantry(&["network", "rm", "net"]).ok();
    daemon.gantry(&["rmi", SHELL]).ok();

    std::fs::remove_file(data.join("filler")).expect("is removed");
    import_shell(&mut daemon.client());
    let echo = daemon.gantry(&["run", "--rm", SHELL, "echo", "again"]);
    assert_eq!(echo.ok(), "again");
    daemon.kill();
    run(&mut command("umount", ["-l", &target])).ok();
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("is made");
    for bytes in [1 << 20, 4096, 1] {
        let piece = vec![1; bytes];
        while file.write_all(&piece).is_ok() {}
    }
}
