//! Bridges and endpoints.

use crate::world::on_host;
use gantry_network::firewall::PortProtocol::Tcp;
use gantry_network::{bridge, endpoint, link};

#[test]
fn an_endpoint_is_attached_as_asked_and_reaches_its_gateway() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let one = world.node("gtest0", "172.30.0.2/24");
        let two = world.node("gtest0", "172.30.0.3/24");
        two.serve(80);
        assert_eq!(one.ask(Tcp, two.v4, 80).expect("neighbours reach each other"), one.v4);
        let read = |path: &str| one.run(|| std::fs::read_to_string(path).expect("is there")).trim().to_owned();
        assert_eq!(read("/proc/sys/net/ipv6/conf/eth0/disable_ipv6"), "1");
        assert_eq!(read("/proc/sys/net/ipv6/conf/lo/disable_ipv6"), "0", "as in dockerd's containers, ::1 is there");
    });
}

#[test]
fn pairs_vanish_with_their_namespace_and_leftovers_are_found() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let endpoint = world.endpoint("gtest0", "172.30.0.2/24", None);
        let namespace = endpoint::create(&mut world.host, std::slice::from_ref(&endpoint)).expect("can be attached");
        assert_eq!(endpoint::list_owned(&mut world.host, "vethtest").expect("can list"), [endpoint.host_name.as_str()]);
        drop(namespace);
        let gone = (0..200).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            endpoint::list_owned(&mut world.host, "vethtest").expect("can list").is_empty()
        });
        assert!(gone, "the pair outlived its namespace");
        assert!(!endpoint::remove(&mut world.host, &endpoint.host_name).expect("is no error"));
    });
}

#[test]
fn a_bridge_is_made_once_and_follows_its_configuration() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let first = link::find(&mut world.host, "gtest0").expect("can look").expect("was made");
        world.bridge("gtest0", "172.30.0.1/24", None);
        assert_eq!(link::find(&mut world.host, "gtest0").expect("can look").as_ref(), Some(&first));
        world.bridge("gtest0", "172.33.0.1/16", Some("fd00:33::1/64"));
        let addresses = bridge::addresses(&mut world.host, "gtest0").expect("can list");
        let expected = ["172.33.0.1/16", "fd00:33::1/64"].map(|network| network.parse().expect("is a network"));
        assert_eq!(addresses, expected);
        assert!(bridge::remove(&mut world.host, "gtest0").expect("can be removed"));
        assert!(!bridge::remove(&mut world.host, "gtest0").expect("is no error"));
    });
}
