//! `docker port`

use super::inspect::inspect;
use crate::command::{Arity, Command, no_flags};
use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::format::natural_order;
use crate::output;
use crate::session::Session;
use crate::template::Value;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["port"],
    top_level: Some("port"),
    arguments: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    about: "List port mappings or a specific mapping for the container",
    arity: Arity::Between(1, 2),
    flags: no_flags,
    is_interspersed: true,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let client = session.client()?;
    let name = &given.arguments[0];
    session.block_on(async {
        let container = Value::from_json(&inspect(client, name, false).await?)?;
        let ports = container.at(&["NetworkSettings", "Ports"]);
        let mut lines: Vec<String> = match given.arguments.get(1) {
            Some(port) => mapping(ports, port, name)?,
            None => ports
                .entries()
                .flat_map(|(port, hosts)| {
                    hosts
                        .list()
                        .iter()
                        .map(move |host| format!("{port} -> {}", address(host)))
                })
                .collect(),
        };
        lines.sort_by(|a, b| natural_order(a, b));
        if !lines.is_empty() {
            output::print_line(&lines.join("\n"));
        }
        Ok(())
    })
}

fn mapping(ports: &Value, wanted: &str, name: &str) -> Outcome<Vec<String>> {
    let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, ""));
    let protocol = if protocol.is_empty() { "tcp" } else { protocol };
    if port.parse::<u16>().is_err() {
        return Err(Failure::new(format!(
            "Error: invalid port ({port}): strconv.ParseUint: parsing {port:?}: invalid syntax"
        )));
    }
    let hosts = ports.get(&format!("{port}/{protocol}")).list();
    if hosts.is_empty() {
        return Err(Failure::new(format!(
            "Error: No public port '{wanted}' published for {name}"
        )));
    }
    Ok(hosts.iter().map(address).collect())
}

fn address(host: &Value) -> String {
    let (ip, port) = (host.get("HostIp").str(), host.get("HostPort").str());
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}
