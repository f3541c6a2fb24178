//! Networks on a link of the host: macvlan beside dockerd's, and ipvlan as far as the kernel has it.

use crate::network::remove;
use crate::pair::{Pair, run_here};
use gantry_testkit::lan;
use gantry_testkit::world;

/// A link without any traffic, in the machine's network for the peer and in the test's world for ours.
const PARENT: &str = "gcmac0";

/// Takes the machine's link away again.
struct Parents;

impl Parents {
    fn new() -> Self {
        let words = [
            "link", "add", PARENT, "type", "veth", "peer", "name", "gcmac1",
        ];
        let [one, other] = [PARENT, "gcmac1"].map(|name| ["link", "set", name, "up"]);
        for words in [&words[..], &one, &other] {
            let inside = run_here("ip", words);
            assert_eq!(inside.code, 0, "{inside:?}");
            // One that an earlier run left will do.
            drop(lan::outside("ip", words).output());
        }
        Self
    }
}

impl Drop for Parents {
    fn drop(&mut self) {
        drop(lan::outside("ip", &["link", "del", PARENT]).output());
    }
}

#[test]
fn macvlan() {
    if !world::enter("network_child::macvlan") {
        return;
    }
    let Some(pair) = Pair::start("net-mac") else {
        return;
    };
    let _parents = Parents::new();
    remove(&pair, &["@a", "@b", "@c", "@in", "@pass", "@chosen"]);
    let shown = "--format '{{.Driver}} {{.Scope}} {{.Internal}} {{.EnableIPv6}} {{json .IPAM}} {{json .Options}}'";
    for (line, code) in [
        (
            "network create -d macvlan -o parent=PARENT --subnet 10.213.7.0/24 @a",
            0,
        ),
        (
            "network create -d macvlan -o parent=PARENT -o macvlan_mode=private --subnet 10.213.8.0/24 --gateway 10.213.8.254 @b",
            0,
        ),
        (
            "network create -d macvlan -o parent=PARENT --internal --subnet 10.213.9.0/24 @in",
            0,
        ),
        (
            "network create -d macvlan -o parent=PARENT --ipv6 --subnet 10.213.10.0/24 --subnet fd00:213:10::/64 @c",
            0,
        ),
        (
            "network create -d macvlan -o parent=PARENT -o macvlan_mode=x @no",
            1,
        ),
        ("network create -d macvlan -o parent=lo @no", 1),
        ("network create -d macvlan -o parent=nosuch @no", 1),
        ("network create -d macvlan -o parent=PARENT.x @no", 1),
        ("network create -d macvlan -o parent=PARENT.4095 @no", 1),
        ("network create -d macvlan -o parent=nosuch.10 @no", 1),
        ("network create -d macvlan -o parent=a.b.c @no", 1),
        (
            "network create -d macvlan -o parent=PARENT --subnet 10.213.7.0/25 @no",
            1,
        ),
        (
            "network create -d macvlan -o parent=PARENT -o macvlan_mode=passthru --subnet 10.213.11.0/24 @no",
            1,
        ),
        (
            "network create -d ipvlan -o parent=PARENT -o ipvlan_mode=x @no",
            1,
        ),
        (
            "network create -d ipvlan -o parent=PARENT -o ipvlan_flag=x @no",
            1,
        ),
        ("network create -d ipvlan -o parent=lo @no", 1),
        (&format!("network inspect {shown} @a @b @in"), 0),
        (
            "run -d --name @one --network @a --mac-address 02:42:0a:00:00:98 -p 18947:80 --network-alias web IMAGE sleep 1000",
            0,
        ),
        ("run -d --name @two --network @a IMAGE sleep 1000", 0),
        (
            "inspect --format '{{json .NetworkSettings.Networks}} {{json .NetworkSettings.Ports}}' @one",
            0,
        ),
        ("ps --filter name=@one --format {{.Ports}}", 0),
        ("port @one", 0),
        (
            "exec @one sh -c 'ip -4 -o address | sed s/.*inet//; ip -4 route | sort; cat /etc/resolv.conf'",
            0,
        ),
        ("exec @two nslookup -type=a web", 0),
        ("exec @two nslookup 10.213.7.2", 0),
        ("exec @two ping -c1 -W5 -q -s1 @one", 0),
        ("network connect @in @one", 0),
        (
            "exec @one sh -c 'ip -4 -o address | sed s/.*inet//; ip -4 route | sort'",
            0,
        ),
        ("network disconnect @a @one", 0),
        (
            "exec @one sh -c 'ip -4 -o address | sed s/.*inet//; ip -4 route | sort'",
            0,
        ),
        ("network connect --ip 10.213.7.77 @a @one", 0),
        (
            "exec @one sh -c 'ip -4 -o address | sed s/.*inet//; ip -4 route | sort'",
            0,
        ),
        ("restart -t 0 @one", 0),
        ("exec @two nslookup -type=a @one", 0),
        (
            "run --rm --network @c IMAGE sh -c 'ip -o address | sed s/.*inet// | grep -v fe80; ip -6 route | grep default'",
            0,
        ),
        (
            "run --rm --network 'name=@b,driver-opt=com.docker.network.endpoint.ifname=foo0' IMAGE sh -c 'ip -4 -o address | sed s/.*inet//; ip -4 route | sort'",
            0,
        ),
        ("rm -f @two", 0),
        ("network rm @a", 1),
        ("rm -f @one", 0),
        ("network rm @a @b @c @in", 0),
        (
            "network create -d macvlan -o parent=PARENT -o macvlan_mode=passthru --subnet 10.213.11.0/24 @pass",
            0,
        ),
        (
            "run --rm --network @pass IMAGE sh -c 'ip -4 -o address | sed s/.*inet//; ip -4 route | sort'",
            0,
        ),
        ("network rm @pass", 0),
    ] {
        pair.check(&[(&line.replace("PARENT", PARENT), code)]);
    }
    pair.finish();
}
