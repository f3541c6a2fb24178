//! What the steps on the path of a start cost. Prints and never fails for slowness: machines are busy.

use crate::world::{Node, on_host, published, two_bridges};
use gantry_network::endpoint;
use gantry_network::firewall::PortProtocol::Tcp;
use gantry_network::firewall::{Firewall, PublishedPort, render};
use std::time::{Duration, Instant};

#[test]
fn attaching_and_publishing_cost_little() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/16", None);
        let mut alone: Vec<Duration> = (0..40)
            .map(|number| {
                // A start on its own: nothing of the one before is still going on.
                std::thread::sleep(Duration::from_millis(30));
                let endpoint =
                    world.endpoint("gtest0", &format!("172.30.1.{}/16", number + 1), None);
                let start = Instant::now();
                let namespace =
                    endpoint::create(&mut world.host, &[endpoint]).expect("can be attached");
                let took = start.elapsed();
                drop(namespace);
                took
            })
            .collect();
        println!("attach, alone: {}", summary(&mut alone));
        let start = Instant::now();
        let kept: Vec<_> = (0..50)
            .map(|number| {
                let endpoint =
                    world.endpoint("gtest0", &format!("172.30.2.{}/16", number + 1), None);
                endpoint::create(&mut world.host, &[endpoint]).expect("can be attached")
            })
            .collect();
        let burst = start.elapsed();
        println!("attach, 50 in a row: {burst:?}, {:?} each", burst / 50);
        let mut bare: Vec<Duration> = (0..40)
            .map(|_| {
                let start = Instant::now();
                endpoint::create(&mut world.host, &[]).expect("can be made");
                start.elapsed()
            })
            .collect();
        println!("namespace with lo only: {}", summary(&mut bare));
        drop(kept);
    });
}

#[test]
fn publishing_costs_the_same_with_ten_ports_and_with_thousands() {
    on_host(|world| {
        world.bridge("gtest0", "172.30.0.1/24", None);
        let node = world.node("gtest0", "172.30.0.2/24");
        let mut firewall = Firewall::open("gtest").expect("nfnetlink answers");
        let ports = |count| {
            (1..=count)
                .map(|port| published(Tcp, "0.0.0.0", port, &node, port))
                .collect::<Vec<_>>()
        };
        for count in [10, 1_000, 10_000] {
            let mut desired = two_bridges();
            desired.ports = ports(count);
            let start = Instant::now();
            firewall
                .apply(&render(&desired))
                .expect("the table is accepted");
            let whole = start.elapsed();
            let (mut add, mut remove) = one_by_one(&mut firewall, &node);
            println!(
                "{count} ports: whole table {whole:?}; add one {}; remove one {}",
                summary(&mut add),
                summary(&mut remove)
            );
        }
    });
}

fn one_by_one(firewall: &mut Firewall, node: &Node) -> (Vec<Duration>, Vec<Duration>) {
    let timed = |work: &mut dyn FnMut(&PublishedPort)| {
        (0..50)
            .map(|number| published(Tcp, "0.0.0.0", 20_000 + number, node, 80))
            .map(|port| {
                let start = Instant::now();
                work(&port);
                start.elapsed()
            })
            .collect::<Vec<_>>()
    };
    let add = timed(&mut |port| firewall.add_port(port).expect("is published"));
    let remove = timed(&mut |port| {
        firewall
            .remove_ports(std::slice::from_ref(port))
            .expect("is taken back");
    });
    (add, remove)
}

fn summary(times: &mut [Duration]) -> String {
    times.sort();
    format!(
        "p10 {:?}, median {:?}, worst {:?}",
        times[times.len() / 10],
        times[times.len() / 2],
        times[times.len() - 1]
    )
}
