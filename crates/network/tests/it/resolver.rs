//! The name server's sockets in a namespace: port 53 of 127.0.0.11 leads to them, and stays free for others.

use crate::world::on_host;
use gantry_network::firewall::Firewall;
use gantry_network::{endpoint, resolver};
use gantry_sys::netns;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn questions_to_port_53_arrive_and_their_answers_come_from_there() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let wanted = world.endpoint("gtest0", "172.30.0.2/24", None);
        let sandbox = endpoint::create_with(&mut world.host, &[wanted], true).expect("can be made");
        let sockets = sandbox.resolver.expect("was asked for");
        sockets.udp.set_nonblocking(false).expect("can wait");
        sockets.tcp.set_nonblocking(false).expect("can wait");
        sockets
            .udp
            .set_read_timeout(Some(PATIENCE))
            .expect("a time");
        let client = netns::run_in(sandbox.namespace.as_fd(), || {
            // A name server of the container's own.
            UdpSocket::bind("0.0.0.0:53").expect("port 53 is the container's");
            let client = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            client
                .connect((resolver::ADDRESS, 53))
                .expect("has a route");
            client.send(b"question").expect("can be sent");
            client.set_read_timeout(Some(PATIENCE)).expect("a time");
            client
        })
        .expect("can be entered");
        let mut bytes = [0; 16];
        let (length, from) = sockets
            .udp
            .recv_from(&mut bytes)
            .expect("the question arrives");
        assert_eq!(&bytes[..length], b"question");
        sockets.udp.send_to(b"answer", from).expect("can be sent");
        // A connected socket takes only what comes from the address that it asked.
        let length = client
            .recv(&mut bytes)
            .expect("the answer comes from port 53");
        assert_eq!(&bytes[..length], b"answer");
        let mut stream = netns::run_in(sandbox.namespace.as_fd(), || {
            TcpStream::connect((resolver::ADDRESS, 53)).expect("TCP is led there too")
        })
        .expect("can be entered");
        let (mut taken, _) = sockets.tcp.accept().expect("the connection arrives");
        taken.write_all(b"large").expect("can be sent");
        stream.read_exact(&mut bytes[..5]).expect("arrives");
    });
}

#[test]
fn without_the_table_nothing_arrives() {
    on_host(|world| {
        let sandbox = endpoint::create_with(&mut world.host, &[], true).expect("can be made");
        let sockets = sandbox.resolver.expect("was asked for");
        let refused = netns::run_in(sandbox.namespace.as_fd(), || {
            let mut firewall = Firewall::open(resolver::TABLE).expect("netfilter answers");
            assert!(
                firewall.remove().expect("can be removed"),
                "there was a table"
            );
            let client = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            client
                .connect((resolver::ADDRESS, 53))
                .expect("has a route");
            client.send(b"question").expect("can be sent");
            client.set_read_timeout(Some(PATIENCE)).expect("a time");
            client
                .recv(&mut [0; 16])
                .expect_err("nobody answers")
                .kind()
        })
        .expect("can be entered");
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
        let nothing = sockets.udp.recv(&mut [0; 16]).expect_err("nothing arrived");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    });
}

#[test]
fn questions_wait_for_the_next_reader() {
    on_host(|world| {
        let sandbox = endpoint::create_with(&mut world.host, &[], true).expect("can be made");
        let sockets = sandbox.resolver.expect("was asked for");
        // As the shim does: the same socket, kept while its reader goes.
        let kept = sockets.udp.try_clone().expect("can be kept");
        drop(sockets);
        netns::run_in(sandbox.namespace.as_fd(), || {
            let client = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            client
                .send_to(b"meanwhile", (resolver::ADDRESS, 53))
                .expect("can be sent");
        })
        .expect("can be entered");
        let mut bytes = [0; 16];
        let length = kept.recv(&mut bytes).expect("it waited");
        assert_eq!(&bytes[..length], b"meanwhile");
    });
}
