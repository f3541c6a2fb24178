//! Networks that users make: commands and refusals, names, and changes of running containers.
//!
//! Each test has subnets of its own, as all share the peer, and neither daemon's pools matter then.

use crate::pair::Pair;
use gantry_testkit::world;

#[test]
fn commands() {
    if !world::enter("network::commands") {
        return;
    }
    let Some(pair) = Pair::start("net-cmd") else {
        return;
    };
    remove(&pair, &["@a", "@b", "@c", "@d"]);
    let shown = "--format '{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.EnableIPv6}} {{json .IPAM.Config}} {{json .Options}} {{json .Labels}}'";
    pair.check(&[
        ("network create --subnet 10.214.7.0/24 --label k=v @a", 0),
        ("network create @a", 1),
        ("network create --subnet 10.214.7.0/24 @b", 1),
        ("network create --subnet 10.214.8.0/24 --gateway 10.214.8.9 --ip-range 10.214.8.128/25 --aux-address x=10.214.8.130 --internal -o com.docker.network.bridge.enable_icc=false @b", 0),
        (&format!("network inspect {shown} @a @b"), 0),
        ("network inspect @nope", 1),
        ("network create bridge", 1),
        ("network create -d nosuch @c", 1),
        ("network create -d host @c", 1),
        ("network create --subnet 10.214.9.7/24 @c", 1),
        ("network create --subnet 10.214.9.0/24 --gateway 10.214.10.1 @c", 1),
        ("network create --gateway 10.214.9.1 @c", 1),
        ("network create -o com.docker.network.driver.mtu=x @c", 1),
        ("network create -o com.docker.network.bridge.gateway_mode_ipv4=isolated @c", 1),
        ("network create --ipv4=false @c", 1),
        ("network create --config-only --subnet 10.214.9.0/24 @c", 0),
        ("network create --config-from @c @d", 0),
        (&format!("network inspect {shown} @d"), 0),
        ("network rm @c", 1),
        ("network rm @d @c", 0),
        ("network ls --filter name=@ --format '{{.Name}} {{.Driver}} {{.Internal}} {{.IPv6}} {{.Labels}}'", 0),
        ("network ls -q --filter label=k=v --filter name=@", 0),
        ("network ls --filter dangling=true --filter name=@ --format {{.Name}}", 0),
        ("run -d --name @one --network @a IMAGE sleep 1000", 0),
        // No list of dangling ones here: dockerd calls every network so that a user made.

        ("network rm @a", 1),
        ("rm -f @one", 0),
        ("network rm @a @b @nope", 1),
        ("network rm bridge", 1),
        ("network rm -f @nope", 0),
    ]);
    pair.finish();
}

#[test]
fn names() {
    if !world::enter("network::names") {
        return;
    }
    let Some(pair) = Pair::start("net-names") else {
        return;
    };
    remove(&pair, &["@a", "@in"]);
    pair.check(&[
        ("network create --subnet 10.214.17.0/24 @a", 0),
        ("network create --internal --subnet 10.214.18.0/24 @in", 0),
        ("run -d --name @one --network @a --ip 10.214.17.77 --network-alias web --mac-address 02:42:0a:00:00:99 IMAGE sleep 1000", 0),
        ("run -d --name @two --network @a --link @one:friend IMAGE sleep 1000", 0),
        ("inspect --format '{{json .NetworkSettings.Networks}}' @one", 0),
        ("exec @one cat /etc/hosts /etc/resolv.conf", 0),
        ("run --rm --network @a --dns-search x.example --dns-option ndots:2 --dns 10.255.255.53 IMAGE cat /etc/resolv.conf", 0),
        ("exec @two nslookup -type=a @one", 0),
        ("exec @two nslookup -type=a web", 0),
        ("exec @two nslookup -type=a web.@a", 0),
        ("exec @two nslookup -type=a friend", 0),
        ("exec @one nslookup -type=aaaa @two", 0),
        ("exec @two nslookup 10.214.17.77", 0),
        ("exec @two ping -c1 -W5 -q 10.214.17.77 -s 1", 0),
        // Port 53 stays the container's.
        ("exec @two sh -c 'timeout 1 nc -l -p 53 2>/dev/null'", 143),
        ("run --rm --network @in IMAGE nslookup -type=a nosuch.example", 1),
        ("run --rm --network @a --ip 10.214.17.77 IMAGE true", 125),
        ("run --rm --network @a --ip 10.214.19.77 IMAGE true", 125),
        ("run --rm --network @nope IMAGE true", 125),
        ("rename @one @uno", 0),
        ("exec @two nslookup -type=a @uno", 0),
        ("rm -f @uno @two", 0),
        ("network rm @a @in", 0),
    ]);
    pair.finish();
}

#[test]
fn changes() {
    if !world::enter("network::changes") {
        return;
    }
    let Some(pair) = Pair::start("net-change") else {
        return;
    };
    remove(&pair, &["@a", "@b"]);
    let routes = "exec @one sh -c 'ip -4 route | sort; ip -4 -o address | sed s/.*inet//'";
    pair.check(&[
        ("network create --subnet 10.214.27.0/24 @a", 0),
        ("network create --subnet 10.214.28.0/24 @b", 0),
        ("run -d --name @one --network @b IMAGE sleep 1000", 0),
        ("network connect --alias foo --ip 10.214.27.9 @a @one", 0),
        (routes, 0),
        ("exec @one cat /etc/hosts", 0),
        ("exec @one nslookup -type=a foo", 0),
        ("inspect --format '{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.IPAddress}} {{$v.Gateway}} {{json $v.IPAMConfig}} {{$v.Aliases}} {{len $v.DNSNames}};{{end}}' @one", 0),
        ("network connect @a @one", 1),
        ("network connect host @one", 1),
        ("network connect @nope @one", 1),
        ("network connect @a @nope", 1),
        ("restart -t 0 @one", 0),
        ("exec @one nslookup -type=a foo", 0),
        ("network disconnect @a @one", 0),
        (routes, 0),
        ("exec @one cat /etc/hosts", 0),
        ("network disconnect @a @one", 1),
        ("stop -t 0 @one", 0),
        ("network connect @a @one", 0),
        ("network disconnect @b @one", 0),
        ("start @one", 0),
        ("exec @one sh -c 'ip -4 route | sort | sed s/eth[0-9]//'", 0),
        ("rm -f @one", 0),
        ("network rm @a @b", 0),
    ]);
    pair.finish();
}

#[test]
fn gateway_modes() {
    if !world::enter("network::gateway_modes") {
        return;
    }
    let Some(pair) = Pair::start("net-mode") else {
        return;
    };
    remove(&pair, &["@a", "@b", "@c", "@d", "@e", "@iso"]);
    let option = |option: &str| format!("-o com.docker.network.{option}");
    let [routed, isolated] =
        ["routed", "isolated"].map(|mode| option(&format!("bridge.gateway_mode_ipv4={mode}")));
    let shown = "--format '{{json .IPAM.Config}} {{json .Options}}'";
    let addresses =
        "sh -c 'ip -4 -o address | sed s/.*inet//; ip -4 route | sort; grep -c : /proc/net/dev'";
    for (line, code) in [
        (
            format!("network create --subnet 10.214.37.0/24 {routed} @a"),
            0,
        ),
        (
            format!("network create --subnet 10.214.38.0/24 --internal {isolated} @iso"),
            0,
        ),
        (
            format!(
                "network create --subnet 10.214.39.0/24 {} @b",
                option("bridge.inhibit_ipv4=true")
            ),
            0,
        ),
        (
            format!(
                "network create --subnet 10.214.40.0/24 {} @c",
                option("container_iface_prefix=foo")
            ),
            0,
        ),
        (
            format!(
                "network create --subnet 10.214.41.0/24 {} @d",
                option("bridge.trusted_host_interfaces=eth0:x,y")
            ),
            0,
        ),
        (
            format!(
                "network create --subnet 10.214.42.0/24 {} @e",
                option("container_iface_prefix=muchtoolongforalink")
            ),
            0,
        ),
        (format!("network create {isolated} @f"), 1),
        (
            format!("network create {} @f", option("bridge.default_bridge=x")),
            1,
        ),
        (format!("network inspect {shown} @a @iso @b @c @d"), 0),
        (
            format!("run --rm --network @iso -p 18937:80 IMAGE {addresses}"),
            0,
        ),
        (format!("run --rm --network @b IMAGE {addresses}"), 0),
        (format!("run --rm --network @c IMAGE {addresses}"), 0),
        (format!("run --rm --network @d IMAGE {addresses}"), 0),
        ("run --rm --network @e IMAGE true".to_owned(), 125),
        (
            "run -d --name @one --network @a -p 18937:80 -p 127.0.0.1:18938:81 IMAGE sleep 1000"
                .to_owned(),
            0,
        ),
    ] {
        pair.check(&[(&line, code)]);
    }
    // dockerd also publishes on `::`, by its proxy.
    let ours = pair.both(&["port", "@one"], b"").map(|finished| {
        let lines = finished
            .stdout
            .lines()
            .filter(|line| !line.contains("[::]"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    });
    assert_eq!(ours[0], ours[1]);
    assert_eq!(ours[0], ["80/tcp -> 0.0.0.0:", "81/tcp -> 0.0.0.0:"]);
    pair.check(&[("rm -f @one", 0), ("network rm @a @b @c @d @e @iso", 0)]);
    pair.finish();
}

#[test]
fn endpoint_options() {
    if !world::enter("network::endpoint_options") {
        return;
    }
    let Some(pair) = Pair::start("net-end") else {
        return;
    };
    remove(&pair, &["@a", "@b"]);
    pair.check(&[
        ("network create --subnet 10.214.47.0/24 @a", 0),
        ("network create --subnet 10.214.48.0/24 @b", 0),
    ]);
    let with = |option: &str, code| {
        (
            format!(
                "run --rm --network 'name=@a,\"driver-opt=com.docker.network.endpoint.{option}\"' IMAGE sh -c 'ls /sys/class/net; cd /proc/sys/net/ipv4/conf; cat */log_martians'"
            ),
            code,
        )
    };
    for (line, code) in [
        with("ifname=foobar", 0),
        with("ifname=muchtoolongforalink", 125),
        with("ifname=lo", 125),
        with("ifname=a/b", 125),
        with(
            "sysctls=net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0",
            0,
        ),
        with("sysctls=net.ipv4.conf.eth0.log_martians=1", 125),
        with("sysctls=net.ipv4.ip_forward=1", 125),
        with("sysctls=kernel.conf.IFNAME.x=1", 125),
        with("sysctls=net.ipv4.conf/IFNAME/log_martians=1", 125),
        with("sysctls=net.ipv4.conf.IFNAME.nosuch=1", 125),
        with("sysctls=net.ipv4.conf.IFNAME.log_martians", 125),
        with("sysctls=net.ipv4.conf.IFNAME.log_martians=abc", 125),
        with("sysctls=net.ipv4.conf.IFNAME.x.y=1", 125),
        with("sysctls=", 125),
    ] {
        pair.check(&[(&line, code)]);
    }
    let addresses = "ip -4 -o address";
    pair.check(&[
        ("run -d --name @one --network @a --link-local-ip 169.254.8.8 IMAGE sleep 1000", 0),
        ("network connect --link-local-ip 169.254.8.9 @b @one", 0),
        ("inspect --format '{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{json $v.IPAMConfig}};{{end}}' @one", 0),
        ("exec @one sh -c 'ip -4 -o address | sed s/.*inet//'", 0),
        (&format!("run --rm --network @a --link-local-ip x IMAGE {addresses}"), 125),
        (&format!("run --rm --network @a --link-local-ip 10.1.2.3 IMAGE {addresses}"), 125),
        ("rm -f @one", 0),
        ("network rm @a @b", 0),
    ]);
    pair.finish();
}

/// What an earlier run of the test left on the peer.
pub(crate) fn remove(pair: &Pair, names: &[&str]) {
    let mut words = vec!["network", "rm", "-f"];
    words.extend(names);
    pair.both(&words, b"");
}
