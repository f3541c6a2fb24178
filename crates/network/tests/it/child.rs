//! Links that share one of the host: macvlan in its modes, and what a kernel that lacks one of them is said to lack.

use crate::world::{World, on_host};
use gantry_network::child::{self, Child, IpvlanFlag, IpvlanMode, MacvlanMode, NewParent};
use gantry_network::endpoint::{self, Endpoint};
use gantry_network::firewall::PortProtocol::{Tcp, Udp};
use gantry_network::link;
use std::net::{IpAddr, Ipv4Addr};

fn on_parent(world: &mut World, child: Child, v4: &str) -> Endpoint {
    Endpoint {
        child: Some(child),
        uplink: "eth0".to_owned(),
        v6: None,
        v6_gateway: None,
        ..world.endpoint("eth0", v4, None)
    }
}

#[test]
fn macvlans_of_a_parent_reach_each_other_or_not_by_their_mode() {
    on_host(|world| {
        // `eth0` of the world is a bridge with the machines of the LAN on it.
        let lan = world.node("eth0", "192.0.2.2/24");
        lan.serve(80);
        let before = link::list(&mut world.host).expect("can list");
        for (number, (mode, reaches)) in [
            (MacvlanMode::Bridge, true),
            (MacvlanMode::Private, false),
            (MacvlanMode::Vepa, false),
        ]
        .into_iter()
        .enumerate()
        {
            let [one, other] = [10, 11].map(|host| {
                let v4 = format!("192.0.2.{}/24", host + 2 * number);
                let endpoint = on_parent(world, Child::Macvlan(mode), &v4);
                world.attach(endpoint)
            });
            other.serve(80);
            for protocol in [Tcp, Udp] {
                let seen = one.ask(protocol, lan.v4, 80).expect("the LAN answers");
                assert_eq!(seen, IpAddr::V4(one.v4), "{mode:?}");
                if reaches {
                    one.ask(protocol, other.v4, 80).expect("a sibling answers");
                } else {
                    assert!(one.is_refused(protocol, other.v4, 80), "{mode:?}");
                }
            }
            // Nothing of them is a link of the host, and a live disconnect takes one away.
            assert_eq!(link::list(&mut world.host).expect("can list"), before);
            assert!(child::remove(one.fd(), "eth0").expect("can be removed"));
            assert!(!child::remove(one.fd(), "eth0").expect("is gone"));
        }
    });
}

#[test]
fn a_macvlan_is_attached_live_with_further_addresses_and_settings() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let lan = world.node("eth0", "192.0.2.2/24");
        let web = world.node("gtest0", "172.30.0.2/24");
        let mut endpoint = on_parent(world, Child::Macvlan(MacvlanMode::Bridge), "192.0.2.7/24");
        endpoint.container_name = "eth1".to_owned();
        endpoint.v4_gateway = None;
        endpoint.link_local = vec!["169.254.8.8/16".parse().expect("is an address")];
        endpoint.sysctls = vec![("ipv4/conf/eth1/log_martians".into(), "1".into())];
        endpoint::attach(&mut world.host, web.fd(), &endpoint).expect("can be attached");
        web.serve(80);
        lan.ask(Tcp, Ipv4Addr::new(192, 0, 2, 7), 80)
            .expect("answers");
        let value =
            web.run(|| std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth1/log_martians"));
        assert_eq!(value.expect("is there").trim(), "1");
        assert!(child::remove(web.fd(), "eth1").expect("can be removed"));
        endpoint.sysctls = vec![("ipv4/conf/eth1/nosuch".into(), "1".into())];
        endpoint.host_name = "vethx".to_owned();
        let error =
            endpoint::attach(&mut world.host, web.fd(), &endpoint).expect_err("is no setting");
        assert_eq!(
            error.to_string(),
            "failed to add interface vethx to sandbox: /proc/sys/net/ipv4/conf/eth1/nosuch is not a sysctl file"
        );
    });
}

/// The kernel takes a namespace apart some time after it was closed.
#[test]
fn an_ethernet_address_and_a_whole_parent_can_be_had_again_at_once() {
    on_host(|world| {
        for mode in [MacvlanMode::Bridge, MacvlanMode::Passthru] {
            let endpoint = on_parent(world, Child::Macvlan(mode), "192.0.2.7/24");
            for _ in 0..10 {
                drop(world.attach(endpoint.clone()));
            }
            let kept = (mode == MacvlanMode::Bridge).then(|| world.attach(endpoint.clone()));
            let again = endpoint::create(&mut world.host, &[endpoint]);
            assert_eq!(again.is_err(), kept.is_some(), "{mode:?}");
        }
    });
}

/// On kernels that have them, that they work.
#[test]
fn an_ipvlan_works_or_the_kernel_is_said_to_lack_it() {
    for (mode, flag, reaches) in [
        (IpvlanMode::L2, IpvlanFlag::Bridge, true),
        (IpvlanMode::L2, IpvlanFlag::Private, false),
        (IpvlanMode::L3, IpvlanFlag::Bridge, true),
        (IpvlanMode::L3s, IpvlanFlag::Bridge, true),
    ] {
        on_host(|world| {
            let child = Child::Ipvlan(mode, flag);
            let [one, other] = ["10.99.0.7/24", "10.99.0.8/24"].map(|v4| {
                let mut endpoint = on_parent(world, child, v4);
                endpoint.v4_gateway = (mode != IpvlanMode::L2).then_some(Ipv4Addr::UNSPECIFIED);
                endpoint
            });
            let made = endpoint::create(&mut world.host, std::slice::from_ref(&one));
            if let Err(error) = made {
                assert_eq!(
                    error.to_string(),
                    "failed to create the ipvlan port: operation not supported: this kernel has no ipvlan (CONFIG_IPVLAN)"
                );
                println!("skipped: {error}");
                return;
            }
            drop(made);
            let [one, other] = [one, other].map(|endpoint| world.attach(endpoint));
            other.serve(80);
            for protocol in [Tcp, Udp] {
                if reaches {
                    let seen = one.ask(protocol, other.v4, 80).expect("a sibling answers");
                    assert_eq!(seen, IpAddr::V4(one.v4));
                } else {
                    assert!(one.is_refused(protocol, other.v4, 80), "{mode:?} {flag:?}");
                }
            }
        });
    }
}

#[test]
fn parents_are_made_and_removed_or_the_kernel_is_said_to_lack_them() {
    on_host(|world| {
        let vlan = NewParent::Vlan {
            of: "eth0".to_owned(),
            id: 10,
        };
        for (name, parent, lacks) in [
            (
                "eth0.10",
                &vlan,
                "failed to create eth0.10 vlan link: operation not supported: this kernel has no 802.1q VLANs (CONFIG_VLAN_8021Q)",
            ),
            (
                "dm-1",
                &NewParent::Dummy,
                "failed to create dm-1 dummy link: operation not supported: this kernel has no dummy links (CONFIG_DUMMY), which a network without a parent needs",
            ),
        ] {
            if let Err(error) = child::ensure_parent(&mut world.host, name, parent) {
                assert_eq!(error.to_string(), lacks);
                continue;
            }
            child::ensure_parent(&mut world.host, name, parent).expect("again");
            let found = link::find(&mut world.host, name).expect("can look");
            assert!(found.is_some_and(|link| link.is_up));
            child::remove_parent(&mut world.host, name, parent).expect("can go");
            assert_eq!(link::find(&mut world.host, name).expect("can look"), None);
        }
        child::remove_parent(&mut world.host, "eth0", &vlan).expect("is another's");
        assert!(
            link::find(&mut world.host, "eth0")
                .expect("can look")
                .is_some()
        );
    });
}
