//! Reservations of host ports.

use crate::world::{World, ask_from_host, on_host, published, two_bridges};
use gantry_network::firewall::PortProtocol::{self, Tcp, Udp};
use gantry_network::firewall::{Firewall, render};
use gantry_network::port;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn refusal(protocol: PortProtocol, address: IpAddr, port: u16) -> String {
    port::reserve(protocol, &[address], port)
        .expect_err("the port is taken")
        .to_string()
}

#[test]
fn a_taken_port_is_dockers_error_and_a_held_one_is_taken() {
    on_host(|_| {
        let server = TcpListener::bind((LOOPBACK, 8080)).expect("is free");
        assert_eq!(refusal(Tcp, ANY, 8080), "address already in use");
        drop(server);
        let held = port::reserve(Tcp, &[ANY, IpAddr::V6(Ipv6Addr::UNSPECIFIED)], 8080)
            .expect("is free now");
        assert_eq!(held.sockets.len(), 2);
        assert_eq!(refusal(Tcp, LOOPBACK, 8080), "address already in use");
        assert!(
            TcpListener::bind((LOOPBACK, 8080)).is_err(),
            "another program took a held port"
        );
        assert!(
            TcpListener::bind((Ipv6Addr::LOCALHOST, 8080)).is_err(),
            "another program took a held port"
        );
        port::reserve(Udp, &[ANY], 8080).expect("another protocol, another port");
        drop(held);
        TcpListener::bind((LOOPBACK, 8080)).expect("is free again");
        let elsewhere = IpAddr::from([10, 9, 9, 9]);
        assert_eq!(
            refusal(Tcp, elsewhere, 8080),
            "cannot assign requested address"
        );
        assert!(port::reserve(Tcp, &[ANY], 0).is_err());
    });
}

#[test]
fn connections_that_linger_are_no_conflict_but_a_second_holder_is() {
    on_host(|_| {
        let server = TcpListener::bind((LOOPBACK, 8080)).expect("is free");
        let mut client = TcpStream::connect((LOOPBACK, 8080)).expect("listens");
        let (connection, _) = server.accept().expect("there is one");
        // The server's side closes first and lingers.
        drop(connection);
        client.read_to_end(&mut Vec::new()).expect("is closed");
        drop((client, server));
        let lingering = || rustix_bind_without_reuse(8080).is_err();
        assert!(lingering(), "the test's own premise");
        let held = port::reserve(Tcp, &[ANY], 8080).expect("only a dead connection is there");
        assert_eq!(refusal(Tcp, ANY, 8080), "address already in use");
        assert!(TcpListener::bind((LOOPBACK, 8080)).is_err());
        let connected =
            TcpStream::connect_timeout(&(LOOPBACK, 8080).into(), Duration::from_millis(200));
        assert!(connected.is_err(), "the holder took a connection");
        drop(held);
    });
}

/// The standard library's listeners set `SO_REUSEADDR`.
fn rustix_bind_without_reuse(port: u16) -> std::io::Result<()> {
    use rustix::net::{AddressFamily, SocketType};
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    Ok(rustix::net::bind(
        &socket,
        &std::net::SocketAddr::new(LOOPBACK, port),
    )?)
}

#[test]
fn free_ports_are_found_one_after_the_other() {
    on_host(|_| {
        let range = 40_000..=40_003;
        let first = port::reserve_any(Tcp, &[ANY], range.clone(), None).expect("all are free");
        assert_eq!(first.port, 40_000);
        let third = port::reserve(Tcp, &[LOOPBACK], 40_002).expect("is free");
        let second =
            port::reserve_any(Tcp, &[ANY], range.clone(), Some(first.port)).expect("some are free");
        let fourth = port::reserve_any(Tcp, &[ANY], range.clone(), Some(second.port))
            .expect("some are free");
        assert_eq!((second.port, fourth.port), (40_001, 40_003));
        let error = port::reserve_any(Tcp, &[ANY], range.clone(), Some(fourth.port))
            .expect_err("none is free");
        assert_eq!(error.to_string(), "all ports are allocated");
        drop(first);
        assert_eq!(
            port::reserve_any(Tcp, &[ANY], range, Some(fourth.port))
                .expect("one is free")
                .port,
            40_000
        );
        drop((second, third, fourth));
        assert_eq!(
            port::ephemeral_range().expect("the kernel says"),
            32_768..=60_999
        );
    });
}

#[test]
fn a_held_port_still_leads_to_its_container() {
    on_host(|world: &mut World| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let web = world.node("gtest0", "172.30.0.2/24");
        web.serve(80);
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        firewall
            .apply(&render(&two_bridges()))
            .expect("the table is accepted");
        for protocol in [Tcp, Udp] {
            let _held = port::reserve(protocol, &[ANY], 8080).expect("is free");
            firewall
                .add_port(&published(protocol, "0.0.0.0", 8080, &web, 80))
                .expect("is published");
            ask_from_host(protocol, Ipv4Addr::LOCALHOST, 8080)
                .expect("is translated before it reaches the holder");
        }
    });
}

#[test]
fn a_udp_client_follows_when_a_port_moves() {
    on_host(|world: &mut World| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let (old, new) = (
            world.node("gtest0", "172.30.0.2/24"),
            world.node("gtest0", "172.30.0.3/24"),
        );
        let lan = world.node("eth0", "192.0.2.2/24");
        old.serve(53);
        new.serve(54);
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        firewall
            .apply(&render(&two_bridges()))
            .expect("the table is accepted");
        let client = lan.run(|| UdpSocket::bind("0.0.0.0:5353").expect("is free"));
        let answers_within = |patience| {
            client.set_read_timeout(Some(patience)).expect("is valid");
            client.send_to(b"?", "192.0.2.1:8053").is_ok() && client.recv(&mut [0; 64]).is_ok()
        };
        let is_silent = || !answers_within(Duration::from_millis(300));
        let answers = || answers_within(Duration::from_secs(20));
        let mut netfilter = gantry_network::Socket::netfilter().expect("nfnetlink answers");
        let [before, after] = [(&old, 53), (&new, 54)]
            .map(|(node, port)| published(Udp, "0.0.0.0", 8053, node, port));
        assert!(is_silent(), "nobody is there yet");
        firewall.add_port(&before).expect("is published");
        assert!(
            is_silent(),
            "the test's own premise: the flow of the unanswered packet goes on"
        );
        assert_eq!(
            gantry_network::conntrack::flush_port(&mut netfilter, &before).expect("can flush"),
            1
        );
        assert!(answers());
        firewall
            .remove_ports(std::slice::from_ref(&before))
            .expect("is taken back");
        firewall.add_port(&after).expect("is published");
        gantry_network::endpoint::remove(&mut world.host, &old.host_name).expect("was there");
        assert!(is_silent(), "the test's own premise: the old flow goes on");
        assert_eq!(
            gantry_network::conntrack::flush_port(&mut netfilter, &before).expect("can flush"),
            1
        );
        assert!(answers());
        assert_eq!(
            gantry_network::conntrack::flush_port(
                &mut netfilter,
                &published(Udp, "0.0.0.0", 8054, &new, 54)
            )
            .expect("can flush"),
            0
        );
    });
}
