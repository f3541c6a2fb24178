//! Pseudo-terminals: size, detach keys, exit codes, as a person sees them.

use crate::pair::Pair;
use gantry_testkit::world;

#[test]
fn run_in_a_terminal() {
    if !world::enter("terminal::run_in_a_terminal") {
        return;
    }
    let Some(pair) = Pair::start("terminal") else {
        return;
    };
    for mut terminal in pair.terminals("run --rm -it -e 'PS1=p> ' IMAGE sh") {
        terminal.expect("p> ");
        // The first size arrives behind the start, as with dockerd.
        terminal.send("sleep 0.5; stty size; tty\n");
        terminal.expect("24 80");
        terminal.expect("/dev/pts/0");
        terminal.resize(33, 101);
        terminal.send("sleep 0.5; stty size\n");
        terminal.expect("33 101");
        terminal.send("exit 6\n");
        assert_eq!(terminal.finish().0, 6);
    }
    pair.finish();
}

#[test]
fn detach_and_attach_again() {
    if !world::enter("terminal::detach_and_attach_again") {
        return;
    }
    let Some(pair) = Pair::start("detach") else {
        return;
    };
    for mut terminal in pair.terminals("run -it --name @a -e 'PS1=p> ' IMAGE sh") {
        terminal.expect("p> ");
        terminal.send("echo before\n");
        terminal.expect("before\r\n");
        terminal.send("\x10\x11");
        assert_eq!(terminal.finish().0, 0);
    }
    pair.same("inspect --format {{.State.Running}} @a");
    for mut terminal in pair.terminals("attach @a") {
        terminal.send("echo again $((40+2))\n");
        terminal.expect("again 42\r\n");
        terminal.send("exit 8\n");
        assert_eq!(terminal.finish().0, 8);
    }
    pair.same("inspect --format {{.State.Running}}/{{.State.ExitCode}} @a");
    for mut terminal in pair.terminals("start -ai @a") {
        terminal.expect("p> ");
        // ctrl-c ends what runs in the shell, ctrl-d the shell.
        terminal.send("sleep 1000\n");
        std::thread::sleep(std::time::Duration::from_millis(500));
        terminal.send("\x03");
        terminal.expect("p> ");
        terminal.send("(exit 4)\n");
        terminal.expect("p> ");
        terminal.send("\x04");
        assert_eq!(terminal.finish().0, 4);
    }
    pair.finish();
}

#[test]
fn exec_in_a_terminal() {
    if !world::enter("terminal::exec_in_a_terminal") {
        return;
    }
    let Some(pair) = Pair::start("exec-terminal") else {
        return;
    };
    pair.same("run -d --name @a IMAGE sleep 1000");
    for mut terminal in pair.terminals("exec -it -e 'PS1=q> ' @a sh") {
        terminal.expect("q> ");
        terminal.send("sleep 0.5; stty size; echo $TERM\n");
        terminal.expect("24 80");
        terminal.expect("xterm");
        terminal.send("exit 5\n");
        assert_eq!(terminal.finish().0, 5);
    }
    // An interrupt reaches the process in the terminal.
    let script = "trap \"echo caught; exit 3\" INT; echo ready; while :; do sleep 0.1; done";
    for mut terminal in pair.terminals(&format!("exec -it @a sh -c '{script}'")) {
        terminal.expect("ready");
        terminal.send("\x03");
        terminal.expect("caught");
        assert_eq!(terminal.finish().0, 3);
    }
    pair.finish();
}
