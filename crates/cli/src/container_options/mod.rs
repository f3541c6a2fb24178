//! The flags of `run` and `create`, and the create request that they mean: field by field what Docker's command line sends.
//!
//! Checks only what Docker's command line checks; the daemon judges the rest. Start reading at [`build`].

mod device;
mod flags;
pub(crate) mod limit;
mod mount;
mod network;
mod port;
mod resources;
mod security;
pub(crate) mod value;

pub(crate) use flags::flags;

use crate::flag::Given;
use crate::timestamp;
use gantry_api::types::{
    ContainerConfig, ContainerCreateRequest, HealthConfig, HostConfig, LogConfig, NetworkingConfig,
    RestartPolicy,
};
use mount::Volume;
use std::collections::BTreeMap;

/// The request for `image` with `command`, as the flags describe it. `proxy` are variables set before all others.
///
/// # Errors
/// Flags that contradict each other, in Docker's words.
pub(crate) fn build(
    given: &Given,
    image: &str,
    command: &[String],
    proxy: &[(String, String)],
) -> Result<ContainerCreateRequest, String> {
    let mac = given.text("mac-address");
    if !mac.is_empty() && !value::mac_is_valid(mac) {
        return Err(format!("{mac} is not a valid mac address"));
    }
    let mut request = ContainerCreateRequest {
        config: config(given, image, command)?,
        host_config: Some(host_config(given)?),
        networking_config: None,
    };
    request.config.env = variables(given, proxy)?;
    let host = request.host_config.get_or_insert_default();
    volumes(given, &mut request.config, host)?;
    let ports = port::parse(given.list("publish"), given.list("expose"))?;
    request.config.exposed_ports = ports.exposed;
    host.port_bindings = Some(ports.bindings);
    if given.bool("rm") && !matches!(host.restart_policy.name.as_str(), "no" | "") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    let networks = network::parse(given)?;
    host.network_mode = networks.mode;
    request.networking_config = Some(NetworkingConfig {
        endpoints_config: Some(networks.endpoints),
    });
    Ok(request)
}

fn config(given: &Given, image: &str, command: &[String]) -> Result<ContainerConfig, String> {
    let attached: Vec<String> = given
        .list("attach")
        .iter()
        .map(|stream| stream.to_lowercase())
        .collect();
    let is_attached = |name: &str| attached.iter().any(|stream| stream == name);
    let open_stdin = given.bool("interactive");
    let attach_stdin = is_attached("stdin") || open_stdin;
    let entrypoint = match given.text("entrypoint") {
        "" if given.is_given("entrypoint") => Some(vec![String::new()]),
        "" => None,
        word => Some(vec![word.to_owned()]),
    };
    let labels = value::read_pairs(given.list("label-file"), given.list("label"), false)?;
    Ok(ContainerConfig {
        hostname: given.text("hostname").into(),
        domainname: given.text("domainname").into(),
        user: given.text("user").into(),
        tty: given.bool("tty"),
        open_stdin,
        attach_stdin,
        attach_stdout: is_attached("stdout") || attached.is_empty(),
        attach_stderr: is_attached("stderr") || attached.is_empty(),
        // What is attached to an open stdin alone may close it.
        stdin_once: open_stdin && attach_stdin,
        cmd: (!command.is_empty()).then(|| command.to_vec()),
        image: image.to_owned(),
        entrypoint,
        working_dir: given.text("workdir").into(),
        on_build: Some(None),
        labels: Some(value::to_map(&labels)),
        stop_signal: given.text("stop-signal").into(),
        stop_timeout: given
            .is_given("stop-timeout")
            .then(|| given.integer("stop-timeout")),
        healthcheck: health(given)?,
        ..ContainerConfig::default()
    })
}

fn variables(given: &Given, proxy: &[(String, String)]) -> Result<Option<Vec<String>>, String> {
    let expanded: Vec<String> = given
        .list("env")
        .iter()
        .map(|text| value::expand_variable(text))
        .collect();
    let given_names: Vec<&str> = expanded
        .iter()
        .map(|text| text.split('=').next().unwrap_or_default())
        .collect();
    let mut all: Vec<String> = proxy
        .iter()
        .filter(|(name, _)| !given_names.contains(&name.as_str()))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    all.extend(value::read_pairs(given.list("env-file"), &expanded, true)?);
    Ok((!all.is_empty()).then_some(all))
}

fn volumes(
    given: &Given,
    config: &mut ContainerConfig,
    host: &mut HostConfig,
) -> Result<(), String> {
    let anonymous = config.volumes.get_or_insert_default();
    let mut binds: Vec<String> = Vec::new();
    for text in given.list("volume") {
        match mount::parse_volume(text)? {
            Volume::Anonymous(path) => {
                anonymous.insert(path, gantry_api::types::Empty::default());
            }
            Volume::Bind(bind) if !binds.contains(&bind) => binds.push(bind),
            Volume::Bind(_) => {}
        }
    }
    host.binds = (!binds.is_empty()).then_some(binds);
    Ok(())
}

fn health(given: &Given) -> Result<Option<HealthConfig>, String> {
    let duration = |name| timestamp::parse_duration_ns(given.text(name)).unwrap_or(0);
    let command = given.text("health-cmd");
    let health = HealthConfig {
        test: (!command.is_empty()).then(|| vec!["CMD-SHELL".to_owned(), command.to_owned()]),
        interval: duration("health-interval"),
        timeout: duration("health-timeout"),
        start_period: duration("health-start-period"),
        start_interval: duration("health-start-interval"),
        retries: given.integer("health-retries"),
    };
    let is_set = health != HealthConfig::default();
    if given.bool("no-healthcheck") {
        if is_set {
            return Err("--no-healthcheck conflicts with --health-* options".into());
        }
        return Ok(Some(HealthConfig {
            test: Some(vec!["NONE".into()]),
            ..HealthConfig::default()
        }));
    }
    let numbers = [
        ("interval", health.interval),
        ("timeout", health.timeout),
        ("retries", health.retries),
        ("start-period", health.start_period),
        ("start-interval", health.start_interval),
    ];
    if let Some((name, _)) = numbers.into_iter().find(|(_, number)| *number < 0) {
        return Err(format!("--health-{name} cannot be negative"));
    }
    Ok(is_set.then_some(health))
}

fn host_config(given: &Given) -> Result<HostConfig, String> {
    let list = |name: &str| {
        let values = given.list(name);
        (!values.is_empty()).then(|| values.to_vec())
    };
    let text = |name: &str| given.text(name).to_owned();
    modes(given)?;
    let log_options = given.list("log-opt");
    if given.text("log-driver") == "none" && !log_options.is_empty() {
        return Err("invalid logging opts for driver none".into());
    }
    let security = security::parse(given.list("security-opt"))?;
    let mut storage = BTreeMap::new();
    for option in given.list("storage-opt") {
        let (key, value) = option.split_once('=').ok_or("invalid storage option")?;
        storage.insert(key.to_owned(), value.to_owned());
    }
    let tmpfs = given.list("tmpfs").iter().map(|option| {
        let (path, options) = option.split_once(':').unwrap_or((option, ""));
        (path.to_owned(), options.to_owned())
    });
    let mut host = HostConfig {
        container_id_file: text("cidfile"),
        log_config: LogConfig {
            kind: text("log-driver"),
            config: Some(value::to_map(log_options)),
        },
        restart_policy: restart_policy(given)?,
        auto_remove: given.bool("rm"),
        volume_driver: text("volume-driver"),
        volumes_from: list("volumes-from"),
        annotations: value::to_map(given.list("annotation")),
        cap_add: capabilities(given.list("cap-add")),
        cap_drop: capabilities(given.list("cap-drop")),
        cgroupns_mode: text("cgroupns"),
        dns: Some(each(given.list("dns"), value::parse_ip)?),
        dns_options: Some(given.list("dns-option").to_vec()),
        dns_search: Some(each(given.list("dns-search"), value::parse_domain)?),
        extra_hosts: Some(each(given.list("add-host"), value::parse_extra_host)?)
            .filter(|hosts| !hosts.is_empty()),
        group_add: list("group-add"),
        ipc_mode: text("ipc"),
        links: list("link"),
        oom_score_adj: given.integer("oom-score-adj"),
        pid_mode: text("pid"),
        privileged: given.bool("privileged"),
        publish_all_ports: given.bool("publish-all"),
        readonly_rootfs: given.bool("read-only"),
        security_opt: security.options,
        masked_paths: security.is_unconfined.then(Vec::new),
        readonly_paths: security.is_unconfined.then(Vec::new),
        storage_opt: storage,
        tmpfs: tmpfs.collect(),
        uts_mode: text("uts"),
        userns_mode: text("userns"),
        sysctls: value::to_map(given.list("sysctl")),
        runtime: text("runtime"),
        isolation: text("isolation"),
        mounts: Some(each(given.list("mount"), mount::parse)?),
        init: given.is_given("init").then(|| given.bool("init")),
        ..HostConfig::default()
    };
    resources::apply(given, &mut host)?;
    Ok(host)
}

/// In the kernel's spelling, sorted, each once.
fn capabilities(names: &[String]) -> Option<Vec<String>> {
    let mut names: Vec<String> = names
        .iter()
        .map(|name| match name.trim().to_uppercase() {
            name if name == "ALL" || name.starts_with("CAP_") => name,
            name => format!("CAP_{name}"),
        })
        .collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then_some(names)
}

fn modes(given: &Given) -> Result<(), String> {
    let container = |text: &str| {
        text.strip_prefix("container:")
            .is_some_and(|name| !name.is_empty())
    };
    let pid = given.text("pid");
    if !matches!(pid, "" | "host") && !container(pid) {
        return Err("--pid: invalid PID mode".into());
    }
    if !matches!(given.text("uts"), "" | "host") {
        return Err("--uts: invalid UTS mode".into());
    }
    if !matches!(given.text("userns"), "" | "host") {
        return Err("--userns: invalid USER mode".into());
    }
    if !matches!(given.text("cgroupns"), "" | "host" | "private") {
        return Err("--cgroupns: invalid CGROUP mode".into());
    }
    Ok(())
}

/// `no`, `always`, `on-failure:3`
pub(crate) fn restart_policy(given: &Given) -> Result<RestartPolicy, String> {
    let text = if given.is_given("restart") {
        given.text("restart")
    } else {
        "no"
    };
    parse_restart_policy(text)
}

/// Reads a restart policy; an empty one stays empty.
pub(crate) fn parse_restart_policy(text: &str) -> Result<RestartPolicy, String> {
    let (name, count) = text
        .split_once(':')
        .map_or((text, None), |(name, count)| (name, Some(count)));
    if name.is_empty() && count.is_some() {
        return Err("invalid restart policy format: no policy provided before colon".into());
    }
    let maximum_retry_count = match count {
        None | Some("") => 0,
        Some(count) => count
            .parse()
            .map_err(|_| "invalid restart policy format: maximum retry count must be an integer")?,
    };
    Ok(RestartPolicy {
        name: name.to_owned(),
        maximum_retry_count,
    })
}

fn each<T>(texts: &[String], parse: fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| parse(text)).collect()
}
