//! `docker info`

use super::version::client_version;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::format::{binary_size, float};
use crate::output;
use crate::session::Session;
use crate::template::{Rules, Template, Value};
use gantry_api::client::{Client, Request};
use indexmap::IndexMap;
use std::fmt::Write as _;
use std::rc::Rc;

const WRONG_TEMPLATE_STATUS: i32 = 64;

pub(crate) static COMMAND: Command = Command {
    group: "system",
    names: &["info"],
    top_level: Some("info"),
    arguments: "[OPTIONS]",
    about: "Display system-wide information",
    arity: Arity::None,
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![Flag::format_without_table().short('f')]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let format = given.text("format");
    let client = session.client()?;
    session.block_on(async {
        let answer = server(client).await;
        if !format.is_empty() {
            let info = answer?;
            let text = by_template(
                &with_client(&info, client),
                if format == "json" {
                    "{{json .}}"
                } else {
                    format
                },
            )?;
            output::print_line(&text);
            return Ok(());
        }
        let mut text = format!(
            "Client:\n Version:    {}\n Context:    default\n Debug Mode: false\n\nServer:\n",
            env!("CARGO_PKG_VERSION")
        );
        match answer {
            Ok(info) => {
                push_server(&mut text, &info);
                output::print(&text);
                for warning in info.get("Warnings").list() {
                    output::print_error_line(warning.str());
                }
                Ok(())
            }
            Err(error) => {
                output::print(&text);
                Err(error.into())
            }
        }
    })
}

async fn server(client: &Client) -> gantry_base::Result<Value> {
    Value::from_json(&client.send(Request::get("/info")).await?.bytes().await?)
}

fn with_client(info: &Value, client: &Client) -> Value {
    let mut map: IndexMap<String, Value> = info
        .entries()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect();
    map.insert("ClientInfo".to_owned(), client_version(client));
    Value::Map(Rc::new(map))
}

fn by_template(info: &Value, source: &str) -> Outcome<String> {
    let wrong = |error: String| Failure {
        status: WRONG_TEMPLATE_STATUS,
        message: format!("template parsing error: {error}"),
    };
    let template = Template::parse(source).map_err(wrong)?;
    let rules = Rules {
        missing_key_is_error: true,
        optional: Some(optional),
        is_header: false,
    };
    template.execute(info, rules).map_err(Failure::new)
}

/// What daemons leave out when it is empty.
fn optional(key: &str) -> Option<Value> {
    match key {
        "ServerErrors"
        | "ClientErrors"
        | "DefaultAddressPools"
        | "FirewallBackend"
        | "Containerd"
        | "DiscoveredDevices"
        | "CDISpecDirs"
        | "SystemStatus"
        | "Cluster"
        | "RemoteManagers"
        | "Plugins" => Some(Value::Nil),
        "CgroupVersion" | "ProductLicense" | "HttpProxy" | "HttpsProxy" | "NoProxy" => {
            Some(Value::text(""))
        }
        _ => None,
    }
}

fn push_server(text: &mut String, info: &Value) {
    push_counts(text, info);
    push_drivers(text, info);
    push_runtimes(text, info);
    push_host(text, info);
    push_registries(text, info);
    let _ = writeln!(
        text,
        " Live Restore Enabled: {}",
        info.get("LiveRestoreEnabled").bool()
    );
    push_if_set(text, " Product License:", info.get("ProductLicense"));
    let pools = info.get("DefaultAddressPools").list();
    if !pools.is_empty() {
        text.push_str(" Default Address Pools:\n");
        for pool in pools {
            let _ = writeln!(
                text,
                "   Base: {}, Size: {}",
                pool.get("Base"),
                pool.get("Size")
            );
        }
    }
    text.push('\n');
}

fn push_if_set(text: &mut String, label: &str, value: &Value) {
    if value.is_true() {
        let _ = writeln!(text, "{label} {value}");
    }
}

fn push_counts(text: &mut String, info: &Value) {
    let count = |key: &str| info.get(key).integer();
    let _ = writeln!(text, " Containers: {}", count("Containers"));
    let _ = writeln!(text, "  Running: {}", count("ContainersRunning"));
    let _ = writeln!(text, "  Paused: {}", count("ContainersPaused"));
    let _ = writeln!(text, "  Stopped: {}", count("ContainersStopped"));
    let _ = writeln!(text, " Images: {}", count("Images"));
}

fn push_drivers(text: &mut String, info: &Value) {
    push_if_set(text, " Server Version:", info.get("ServerVersion"));
    push_if_set(text, " Storage Driver:", info.get("Driver"));
    for pair in info.get("DriverStatus").list() {
        if let [key, value] = pair.list() {
            let _ = writeln!(text, "  {key}: {value}");
        }
    }
    push_if_set(text, " Logging Driver:", info.get("LoggingDriver"));
    push_if_set(text, " Cgroup Driver:", info.get("CgroupDriver"));
    push_if_set(text, " Cgroup Version:", info.get("CgroupVersion"));
    let plugins = |kind: &str| {
        let names = info.at(&["Plugins", kind]).list().iter().map(Value::str);
        names.collect::<Vec<_>>().join(" ")
    };
    let _ = writeln!(
        text,
        " Plugins:\n  Volume: {}\n  Network: {}",
        plugins("Volume"),
        plugins("Network")
    );
    if !plugins("Authorization").is_empty() {
        let _ = writeln!(text, "  Authorization: {}", plugins("Authorization"));
    }
    let _ = writeln!(text, "  Log: {}", plugins("Log"));
    push_list(text, " CDI spec directories:", info.get("CDISpecDirs"));
    let state = info.at(&["Swarm", "LocalNodeState"]).str();
    let _ = writeln!(
        text,
        " Swarm: {}",
        if state.is_empty() { "inactive" } else { state }
    );
}

fn push_list(text: &mut String, label: &str, list: &Value) {
    if !list.list().is_empty() {
        let _ = writeln!(text, "{label}");
        for item in list.list() {
            let _ = writeln!(text, "  {item}");
        }
    }
}

fn push_runtimes(text: &mut String, info: &Value) {
    let mut runtimes: Vec<&str> = info
        .get("Runtimes")
        .entries()
        .map(|(name, _)| name)
        .collect();
    if !runtimes.is_empty() {
        runtimes.sort_unstable();
        let _ = writeln!(text, " Runtimes: {}", runtimes.join(" "));
        let _ = writeln!(
            text,
            " Default Runtime: {}",
            info.get("DefaultRuntime").str()
        );
    }
    if info.get("OSType").str() != "linux" {
        return;
    }
    let _ = writeln!(text, " Init Binary: {}", info.get("InitBinary").str());
    for (label, key) in [
        ("containerd", "ContainerdCommit"),
        ("runc", "RuncCommit"),
        ("init", "InitCommit"),
    ] {
        let _ = writeln!(text, " {label} version: {}", info.at(&[key, "ID"]).str());
    }
    let options = info.get("SecurityOptions").list();
    if !options.is_empty() {
        text.push_str(" Security Options:\n");
        for option in options {
            push_security_option(text, option.str());
        }
    }
}

/// `name=seccomp,profile=builtin`
fn push_security_option(text: &mut String, option: &str) {
    let pairs: Vec<(&str, &str)> = option
        .split(',')
        .filter_map(|pair| pair.split_once('='))
        .collect();
    let name = pairs
        .iter()
        .find(|(key, _)| *key == "name")
        .map_or(option, |(_, value)| value);
    let _ = writeln!(text, "  {name}");
    for (_, profile) in pairs.iter().filter(|(key, _)| *key == "profile") {
        let _ = writeln!(text, "   Profile: {profile}");
    }
}

fn push_host(text: &mut String, info: &Value) {
    for (label, key) in [
        (" Kernel Version:", "KernelVersion"),
        (" Operating System:", "OperatingSystem"),
        (" OSType:", "OSType"),
        (" Architecture:", "Architecture"),
    ] {
        push_if_set(text, label, info.get(key));
    }
    let _ = writeln!(text, " CPUs: {}", info.get("NCPU").integer());
    let _ = writeln!(
        text,
        " Total Memory: {}",
        binary_size(float(info.get("MemTotal").integer()))
    );
    push_if_set(text, " Name:", info.get("Name"));
    push_if_set(text, " ID:", info.get("ID"));
    let _ = writeln!(
        text,
        " Docker Root Dir: {}",
        info.get("DockerRootDir").str()
    );
    let _ = writeln!(text, " Debug Mode: {}", info.get("Debug").bool());
    if info.get("Debug").bool() {
        let _ = writeln!(text, "  File Descriptors: {}", info.get("NFd").integer());
        let _ = writeln!(text, "  Goroutines: {}", info.get("NGoroutines").integer());
        let _ = writeln!(text, "  System Time: {}", info.get("SystemTime").str());
        let _ = writeln!(
            text,
            "  EventsListeners: {}",
            info.get("NEventsListener").integer()
        );
    }
    push_if_set(text, " HTTP Proxy:", info.get("HttpProxy"));
    push_if_set(text, " HTTPS Proxy:", info.get("HttpsProxy"));
    push_if_set(text, " No Proxy:", info.get("NoProxy"));
    push_list(text, " Labels:", info.get("Labels"));
    let _ = writeln!(
        text,
        " Experimental: {}",
        info.get("ExperimentalBuild").bool()
    );
}

fn push_registries(text: &mut String, info: &Value) {
    let registries = info.get("RegistryConfig");
    let indices = registries.get("IndexConfigs");
    let ranges = registries.get("InsecureRegistryCIDRs").list();
    if !ranges.is_empty() || indices.entries().next().is_some() {
        text.push_str(" Insecure Registries:\n");
        for (_, index) in indices
            .entries()
            .filter(|(_, index)| !index.get("Secure").bool())
        {
            let _ = writeln!(text, "  {}", index.get("Name"));
        }
        for range in ranges {
            let _ = writeln!(text, "  {range}");
        }
    }
    push_list(text, " Registry Mirrors:", registries.get("Mirrors"));
}
