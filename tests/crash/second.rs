//! Two daemons on one root: the second one would take what is the first one's for leftovers of a dead daemon.

use gantry_testkit::daemon::{Daemon, executable};
use gantry_testkit::program::{command, run};
use gantry_testkit::world;

#[test]
fn a_second_daemon_on_a_root_is_refused() {
    if !world::enter("second::a_second_daemon_on_a_root_is_refused") {
        return;
    }
    let mut daemon = Daemon::new("second");
    assert!(daemon.start(""), "{}", daemon.log_text());
    let path = |name: &str| daemon.root().join(name).display().to_string();
    for (data, exec, held) in [("data", "run2", "data"), ("data2", "run", "run")] {
        let host = format!("unix://{}", path("second.sock"));
        let second = run(&mut command(
            executable("gantry"),
            [
                "daemon",
                "--data-root",
                &path(data),
                "--exec-root",
                &path(exec),
                "--pidfile",
                "",
                "--host",
                &host,
            ],
        ));
        assert_ne!(second.code, 0, "{second:?}");
        let refusal = format!("another daemon uses {}", path(held));
        assert!(second.stderr.contains(&refusal), "{second:?}");
    }
    assert_eq!(daemon.gantry(&["run", "--rm", "gantry/hello"]).code, 0);
    daemon.assert_clean("a second daemon");
}
