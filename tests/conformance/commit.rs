//! `docker diff` and `docker commit`: which paths changed, and what the image of a container says of itself.

use crate::pair::Pair;
use gantry_testkit::world;

/// Each kind of change; the directories that hold them are there in the image.
const CHANGES: &str = "echo x >> /etc/passwd; mkdir /a /a/b; echo 1 > /a/b/c; rm /bin/arch; rm -rf /opt; mkdir /srv/new; \
    rm -rf /media; mkdir /media; touch /media/x; ln -s /etc /lnk; chmod 700 /home; mv /mnt /mnt2; touch /usr/bin; \
    mkfifo /tmp/p; rm -rf /var/spool; touch /etc/hosts; cp -p /bin/busybox /x; mv /x /bin/busybox";

#[test]
fn diff() {
    if !world::enter("commit::diff") {
        return;
    }
    let Some(pair) = Pair::start("diff") else {
        return;
    };
    pair.same("run -d --name @a -v /vol -w /work IMAGE sleep 1000");
    same_changes(&pair);
    pair.same(&format!("exec @a sh -c '{CHANGES}'"));
    same_changes(&pair);
    pair.same("kill @a");
    pair.same("wait @a");
    same_changes(&pair);
    pair.same("diff @absent");
    pair.finish();
}

/// dockerd has no order.
#[track_caller]
fn same_changes(pair: &Pair) {
    let name = pair.name("a");
    let [ours, peer] = pair.both(&["diff", &name], b"");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!((ours.code, &ours.stderr), (peer.code, &peer.stderr));
    assert_eq!(sorted(&ours.stdout), sorted(&peer.stdout));
}

#[test]
fn commit() {
    if !world::enter("commit::commit") {
        return;
    }
    let Some(pair) = Pair::start("commit") else {
        return;
    };
    let shown = "image inspect --format '{{.RepoTags}} {{.Comment}} {{.Author}} {{json .Config.Cmd}} {{json .Config.Entrypoint}} \
         {{json .Config.Env}} {{json .Config.Labels}} {{json .Config.ExposedPorts}} {{json .Config.Healthcheck}} {{json .Config.Volumes}} \
         {{.Config.User}} {{.Config.WorkingDir}} {{json .Config.StopSignal}} {{len .RootFS.Layers}}'";
    pair.same("run -d --name @a -e A=1 --label k=v -v /vol --expose 81 IMAGE sleep 1000");
    pair.same(&format!("exec @a sh -c '{CHANGES}; touch /vol/not-kept'"));
    pair.same("commit @a @one:1");
    pair.same(&format!("{shown} @one:1"));
    pair.same("history --format '{{.CreatedBy}} {{.Comment}}' @one:1");
    pair.same("run --rm --name @b --entrypoint sh @one:1 -c 'cat /etc/passwd /a/b/c; ls -d /opt /media/* /bin/arch; ls /mnt2 /vol /home -ld | cut -c1-10; stat -c %F /tmp/p; readlink /lnk'");
    // Nothing changed: no layer.
    pair.same("create --name @c IMAGE true");
    pair.same("commit -p=false @c @one:same");
    pair.same(&format!("{shown} @one:same"));
    for changes in [
        "-c 'CMD [\"x\"]' -c 'ENV A=2 B=3' -c 'LABEL q=r' -c 'EXPOSE 80' -m words -a me",
        "-c 'ENTRYPOINT [\"e\"]' -c 'USER 5' -c 'WORKDIR /w' -c 'STOPSIGNAL 9' -c 'VOLUME /x /y'",
        "-c 'CMD a' -c 'ENTRYPOINT e'",
        "-c CMD -c ENTRYPOINT -c 'EXPOSE 90/udp 92'",
        "-c 'HEALTHCHECK --interval=5s --retries=3 CMD true'",
        "-c 'HEALTHCHECK --timeout=1m CMD [\"a\",\"b\"]'",
        "-c 'HEALTHCHECK NONE'",
        "-c 'ONBUILD RUN x'",
    ] {
        pair.same(&format!("commit {changes} @a @one:2"));
        pair.same(&format!("{shown} @one:2"));
    }
    pair.check(&[
        ("commit -c 'FOO x' @a", 1),
        ("commit -c 'RUN x' @a", 1),
        ("commit -c ENV @a", 1),
        ("commit -c 'EXPOSE x' @a", 1),
        ("commit -c 'STOPSIGNAL zz' @a", 1),
        ("commit -c 'ONBUILD FROM x' @a", 1),
        ("commit -c 'HEALTHCHECK --retries=x CMD y' @a", 1),
        ("commit -c 'HEALTHCHECK --interval=1us CMD y' @a", 1),
        ("commit -c 'HEALTHCHECK FOO' @a", 1),
        ("commit @absent", 1),
        ("commit @a BAD", 1),
        ("pause @a", 0),
        ("commit @a @one:3", 0),
        ("inspect --format {{.State.Status}} @a", 0),
        ("rm -f @a", 0),
        ("rmi @one:3 @one:2 @one:same @one:1", 0),
    ]);
    pair.finish();
}
