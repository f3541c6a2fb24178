//! The daemon's configuration: flags and `daemon.json` → [`Options`] → engine settings.
//!
//! Unknown keys are refused, known but unsupported ones by name; a key in both places is a conflict, as with dockerd.

mod keys;
mod settings;

use clap::{Arg, ArgAction, ArgMatches, Command};
use gantry_base::{Context, Error, Result};
use keys::{Fate, KEYS, Key, Kind};
use serde_json::Value;
pub(crate) use settings::to_settings;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where the file is looked for unless a flag says otherwise.
const DEFAULT_FILE: &str = "/etc/gantry/daemon.json";
/// The same when called as dockerd.
const DOCKER_FILE: &str = "/etc/docker/daemon.json";

/// Everything that was said, by key of the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) values: BTreeMap<&'static str, Value>,
    /// What the flags alone said, for a reload.
    flags: BTreeMap<&'static str, Value>,
    pub(crate) file: PathBuf,
    file_was_named: bool,
    pub(crate) validate: bool,
    /// `--shim`: the supervisor's executable, for those who keep it elsewhere.
    pub(crate) shim: Option<PathBuf>,
}

/// What the command line asked for.
pub(crate) enum Asked {
    Run(Box<Options>),
    /// Help or version, or a mistake: print it and end with this code.
    Print(String, u8),
}

/// Reads the command line and the file.
///
/// # Errors
/// An unknown or unsupported key or value, a conflict between file and flags, a file that cannot be read.
pub(crate) fn read(program: &str, arguments: Vec<OsString>) -> Result<Asked> {
    let mut command = command(program);
    let line = std::iter::once(OsString::from(program)).chain(arguments);
    let matches = match command.try_get_matches_from_mut(line) {
        Ok(matches) => matches,
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let message = first
                .strip_prefix("error: ")
                .unwrap_or(first)
                .replace("unexpected argument '", "unknown flag: ");
            let message = message
                .strip_suffix("' found")
                .unwrap_or(&message)
                .to_owned();
            return Ok(Asked::Print(
                format!("{message}\nSee '{program} --help'."),
                125,
            ));
        }
        Err(error) => return Ok(Asked::Print(error.to_string(), 0)),
    };
    if matches.get_flag("version") {
        return Ok(Asked::Print(
            format!("Gantry version {}\n", env!("CARGO_PKG_VERSION")),
            0,
        ));
    }
    let default = if program == "dockerd" {
        DOCKER_FILE
    } else {
        DEFAULT_FILE
    };
    let named = matches.get_one::<String>("config-file");
    let mut options = Options {
        flags: read_flags(&matches)?,
        file: PathBuf::from(named.map_or(default, String::as_str)),
        file_was_named: named.is_some(),
        validate: matches.get_flag("validate"),
        shim: matches.get_one::<String>("shim").map(PathBuf::from),
        ..Options::default()
    };
    options.load()?;
    Ok(Asked::Run(Box::new(options)))
}

impl Options {
    /// Reads the file (again) and merges it with the flags.
    ///
    /// # Errors
    /// As [`read`]; the values then stay as they were.
    pub(crate) fn load(&mut self) -> Result<()> {
        let file = self.read_file().with_context(|| {
            format!(
                "unable to configure the Docker daemon with file {}",
                self.file.display()
            )
        })?;
        let both: Vec<String> = file
            .iter()
            .filter_map(|(name, from_file)| {
                let from_flag = self.flags.get(name)?;
                Some(format!(
                    "{name}: (from flag: {}, from file: {})",
                    plain(from_flag),
                    plain(from_file)
                ))
            })
            .collect();
        if !both.is_empty() {
            return Err(Error::invalid(format!(
                "unable to configure the Docker daemon with file {}: the following directives are specified both as a flag and in the configuration file: {}",
                self.file.display(),
                both.join(", ")
            )));
        }
        let mut values = file;
        values.extend(self.flags.clone());
        for (name, value) in &values {
            check_fate(keys::find(name).expect("only known keys get here"), value)?;
        }
        self.values = values;
        Ok(())
    }

    fn read_file(&self) -> Result<BTreeMap<&'static str, Value>> {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.file_was_named => {
                return Ok(BTreeMap::new());
            }
            Err(error) => {
                return Err(Error::from(error).prefixed(format!("open {}", self.file.display())));
            }
        };
        parse_file(&text)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.values.get(name)?.as_bool()
    }

    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.values.get(name)?.as_i64()
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let items = self.values.get(name).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// Members that are not just strings.
    pub(crate) fn items(&self, name: &str) -> Vec<Value> {
        let items = self.values.get(name).and_then(Value::as_array);
        items.cloned().unwrap_or_default()
    }

    pub(crate) fn map(&self, name: &str) -> Vec<(String, Value)> {
        let items = self.values.get(name).and_then(Value::as_object);
        items
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Where the two roots are.
    pub(crate) fn roots(&self) -> (&Path, &Path) {
        let data = self.text("data-root").unwrap_or("/var/lib/gantry");
        let run = self.text("exec-root").unwrap_or("/run/gantry");
        (Path::new(data), Path::new(run))
    }
}

fn parse_file(text: &str) -> Result<BTreeMap<&'static str, Value>> {
    if text.trim().is_empty() {
        return Ok(BTreeMap::new());
    }
    let document: Value = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("invalid JSON: {error}")))?;
    let Value::Object(members) = document else {
        return Err(Error::invalid("invalid JSON: not an object"));
    };
    let unknown: Vec<&str> = members
        .keys()
        .filter(|name| keys::find(name).is_none())
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        return Err(Error::invalid(format!(
            "the following directives don't match any configuration option: {}",
            unknown.join(", ")
        )));
    }
    let mut values = BTreeMap::new();
    for (name, value) in members {
        let key = keys::find(&name).expect("unknown keys were refused above");
        check_kind(key, &value)?;
        values.insert(key.name, value);
    }
    Ok(values)
}

fn check_kind(key: &Key, value: &Value) -> Result<()> {
    let fits = match key.kind {
        Kind::Bool => value.is_boolean(),
        Kind::Text => value.is_string(),
        Kind::Number => value.is_i64(),
        Kind::List => value
            .as_array()
            .is_some_and(|items| key.fate == Fate::Refused || items.iter().all(Value::is_string)),
        Kind::Pools => value.is_array(),
        Kind::Map => value.is_object(),
        Kind::Document => true,
    };
    if fits {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "invalid value for {}: {}",
            key.name,
            plain(value)
        )))
    }
}

/// Refuses what is not supported, by name.
fn check_fate(key: &Key, value: &Value) -> Result<()> {
    let refuse = || {
        Err(Error::not_implemented(format!(
            "{} ({}) is not supported yet",
            key.name,
            plain(value)
        )))
    };
    match key.fate {
        Fate::Used | Fate::Kept => Ok(()),
        Fate::Refused if is_empty(value) => Ok(()),
        Fate::Refused => refuse(),
        Fate::Only(allowed) => {
            let items = value
                .as_array()
                .cloned()
                .unwrap_or_else(|| vec![value.clone()]);
            if items
                .iter()
                .all(|item| allowed.contains(&plain(item).as_str()))
            {
                Ok(())
            } else {
                refuse()
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program.to_owned())
        .override_usage(format!("{program} [OPTIONS]"))
        .about("A container platform: the daemon.")
        .disable_version_flag(true)
        .arg(
            Arg::new("version")
                .long("version")
                .short('v')
                .action(ArgAction::SetTrue)
                .help("Print version information and quit"),
        )
        .arg(
            Arg::new("validate")
                .long("validate")
                .action(ArgAction::SetTrue)
                .help("Validate the configuration and exit"),
        )
        .arg(
            Arg::new("config-file")
                .long("config-file")
                .num_args(1)
                .help("Daemon configuration file"),
        )
        .arg(
            Arg::new("shim")
                .long("shim")
                .num_args(1)
                .help("Executable of shims and OCI runtime (default: beside this one)"),
        );
    for key in KEYS.iter().filter(|key| !key.flag.is_empty()) {
        let mut arg = Arg::new(key.name).long(key.flag).help(help_of(key));
        if let Some(letter) = key.short {
            arg = arg.short(letter);
        }
        arg = match key.kind {
            // `--debug` and `--debug=false`, as pflag reads them.
            Kind::Bool => arg
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .action(ArgAction::Set),
            Kind::List | Kind::Map | Kind::Pools => arg.num_args(1).action(ArgAction::Append),
            Kind::Text | Kind::Number | Kind::Document => arg
                .num_args(1)
                .allow_negative_numbers(true)
                .action(ArgAction::Set),
        };
        command = command.arg(arg);
    }
    command
}

fn help_of(key: &Key) -> String {
    let what = match key.fate {
        Fate::Used => String::new(),
        Fate::Kept => " (accepted; has no effect yet)".into(),
        Fate::Only(values) => format!(
            " (only {})",
            values
                .iter()
                .map(|v| format!("{v:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
        Fate::Refused => " (not supported yet)".into(),
    };
    format!("Same as {:?} in the configuration file{what}", key.name)
}

fn read_flags(matches: &ArgMatches) -> Result<BTreeMap<&'static str, Value>> {
    let mut values = BTreeMap::new();
    for key in KEYS
        .iter()
        .filter(|key| !key.flag.is_empty() && matches.contains_id(key.name))
    {
        let given: Vec<&String> = matches
            .get_many::<String>(key.name)
            .into_iter()
            .flatten()
            .collect();
        let Some(last) = given.last() else { continue };
        let invalid = || {
            Error::invalid(format!(
                "invalid argument {last:?} for \"--{}\" flag",
                key.flag
            ))
        };
        let value = match key.kind {
            Kind::Bool => Value::Bool(parse_bool(last).ok_or_else(invalid)?),
            Kind::Number => Value::from(last.parse::<i64>().map_err(|_| invalid())?),
            Kind::Text | Kind::Document => Value::from(last.as_str()),
            Kind::List | Kind::Pools => given
                .iter()
                .map(|item| Value::from(item.as_str()))
                .collect(),
            Kind::Map => {
                let mut members = serde_json::Map::new();
                for item in given {
                    let (name, value) = item.split_once('=').unwrap_or((item, "true"));
                    members.insert(name.to_owned(), Value::from(value));
                }
                Value::Object(members)
            }
        };
        values.insert(key.name, value);
    }
    Ok(values)
}

fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Result<BTreeMap<&'static str, Value>> {
        let line = std::iter::once("gantryd").chain(arguments.iter().copied());
        read_flags(
            &command("gantryd")
                .try_get_matches_from(line)
                .expect("parses"),
        )
    }

    #[test]
    fn dockerds_flags_are_read_like_pflag_does() {
        let values = flags(&[
            "-D",
            "--iptables=false",
            "-H",
            "unix:///a",
            "--host=fd://",
            "--log-opt",
            "max-size=1m",
            "--mtu",
            "1400",
        ]);
        let values = values.expect("valid");
        assert_eq!(values["debug"], Value::Bool(true));
        assert_eq!(values["iptables"], Value::Bool(false));
        assert_eq!(values["hosts"], serde_json::json!(["unix:///a", "fd://"]));
        assert_eq!(values["log-opts"], serde_json::json!({"max-size": "1m"}));
        assert_eq!(values["mtu"], Value::from(1400));
        assert!(flags(&["--debug=maybe"]).is_err());
    }

    #[test]
    fn unknown_and_unsupported_keys_are_refused_by_name() {
        let text = parse_file(r#"{"debug": true, "dbg": 1}"#)
            .expect_err("unknown")
            .to_string();
        assert_eq!(
            text,
            "the following directives don't match any configuration option: dbg"
        );
        assert!(parse_file(r#"{"debug": "yes"}"#).is_err());
        let tls = keys::find("tls").expect("known");
        assert!(check_fate(tls, &Value::Bool(false)).is_ok());
        assert_eq!(
            check_fate(tls, &Value::Bool(true))
                .expect_err("refused")
                .to_string(),
            "tls (true) is not supported yet"
        );
    }

    #[test]
    fn the_same_key_in_both_places_is_a_conflict() {
        let path = std::env::temp_dir().join(format!("gantry-config-{}.json", std::process::id()));
        std::fs::write(&path, r#"{"debug": false}"#).expect("writes");
        let path_text = path.to_str().expect("UTF-8");
        let arguments = ["--config-file", path_text, "--debug"]
            .map(OsString::from)
            .to_vec();
        let text = read("gantryd", arguments)
            .err()
            .expect("conflict")
            .to_string();
        assert!(
            text.ends_with("debug: (from flag: true, from file: false)"),
            "{text}"
        );
        std::fs::remove_file(path).expect("removes");
    }
}
