//! `changes` of an import or a commit: lines of a Dockerfile that set defaults for containers.

use super::super::container::check_stop_signal;
use crate::time;
use gantry_base::{Error, Result};
use gantry_oci::image::{ContainerDefaults, Empty, Healthcheck};

/// The defaults that all changes together make of `config`.
pub(in crate::route) fn apply_all<'a>(
    mut config: ContainerDefaults,
    changes: impl Iterator<Item = &'a str>,
) -> Result<ContainerDefaults> {
    let mut has_command = false;
    for line in changes
        .flat_map(str::lines)
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let instruction = apply(&mut config, line)?;
        has_command |= instruction == "CMD" && line.contains(char::is_whitespace);
        // A command that was meant for another program.
        if instruction == "ENTRYPOINT" && !has_command {
            config.cmd = None;
        }
    }
    Ok(config)
}

/// The instructions.
const KNOWN: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Gives the instruction.
fn apply(config: &mut ContainerDefaults, line: &str) -> Result<String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (instruction, rest) = (word.to_ascii_uppercase(), rest.trim());
    let needs_one = || Error::invalid(format!("{instruction} requires at least one argument"));
    let exactly_one = || Error::invalid(format!("{instruction} requires exactly one argument"));
    let may_be_empty = |name: &str| matches!(name, "CMD" | "ENTRYPOINT");
    if rest.is_empty() && KNOWN.contains(&instruction.as_str()) && !may_be_empty(&instruction) {
        let many = matches!(instruction.as_str(), "USER" | "WORKDIR" | "STOPSIGNAL");
        return Err(if many { exactly_one() } else { needs_one() });
    }
    match instruction.as_str() {
        "CMD" => config.cmd = Some(command(rest)),
        "ENTRYPOINT" if rest.is_empty() => config.entrypoint = None,
        "ENTRYPOINT" => config.entrypoint = Some(command(rest)),
        "ENV" => {
            let env = config.env.get_or_insert_default();
            for (name, value) in pairs("ENV", rest)? {
                env.retain(|known| known.split('=').next() != Some(name.as_str()));
                env.push(format!("{name}={value}"));
            }
        }
        "LABEL" => {
            let labels = config.labels.get_or_insert_default();
            labels.extend(pairs("LABEL", rest)?);
        }
        "EXPOSE" => expose(config, rest)?,
        "VOLUME" => {
            let volumes = config.volumes.get_or_insert_default();
            let paths = json_words(rest).map_or_else(|| words(rest), Ok)?;
            volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        }
        "USER" => rest.clone_into(&mut config.user),
        "WORKDIR" => change_directory(config, rest),
        "STOPSIGNAL" => {
            check_stop_signal(rest)?;
            rest.clone_into(&mut config.stop_signal);
        }
        "ONBUILD" => {
            let trigger = rest.split_whitespace().next().unwrap_or_default();
            let trigger = trigger.to_ascii_uppercase();
            if trigger == "ONBUILD" {
                let text = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed";
                return Err(Error::invalid(text));
            }
            if matches!(trigger.as_str(), "FROM" | "MAINTAINER") {
                let text = format!("{trigger} isn't allowed as an ONBUILD trigger");
                return Err(Error::invalid(text));
            }
            config
                .on_build
                .get_or_insert_default()
                .push(rest.to_owned());
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        _ => {
            return Err(Error::invalid(format!(
                "{word} is not a valid change command"
            )));
        }
    }
    Ok(instruction)
}

/// `[--interval=…] … CMD …`, or `NONE`.
fn healthcheck(text: &str) -> Result<Healthcheck> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        let time = || duration(name, value);
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => {
                check.retries = value.parse().map_err(|_| {
                    let text = format!("strconv.ParseInt: parsing \"{value}\": invalid syntax");
                    Error::invalid(text)
                })?;
                if check.retries < 0 {
                    let text = format!("--retries cannot be negative ({value})");
                    return Err(Error::invalid(text));
                }
            }
            _ => return Err(Error::invalid(format!("unknown flag: --{name}"))),
        }
        rest = after.trim_start();
    }
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    check.test = Some(match kind.to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => vec!["NONE".into()],
        "NONE" => {
            return Err(Error::invalid("HEALTHCHECK NONE takes no arguments"));
        }
        "CMD" if rest.is_empty() => {
            return Err(Error::invalid("Missing command after HEALTHCHECK CMD"));
        }
        "CMD" => match json_words(rest) {
            Some(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            None => vec!["CMD-SHELL".into(), rest.to_owned()],
        },
        other => {
            return Err(Error::invalid(format!(
                "Unknown type \"{other}\" in HEALTHCHECK (try CMD)"
            )));
        }
    });
    Ok(check)
}

fn duration(name: &str, value: &str) -> Result<i64> {
    match time::duration_ns(value) {
        Some(0) => Ok(0),
        Some(duration) if duration >= 1_000_000 => Ok(duration),
        Some(_) => Err(Error::invalid(format!(
            "Interval \"{name}\" cannot be less than 1ms"
        ))),
        None => Err(Error::invalid(format!(
            "time: invalid duration \"{value}\""
        ))),
    }
}

fn expose(config: &mut ContainerDefaults, text: &str) -> Result<()> {
    let ports = config.exposed_ports.get_or_insert_default();
    for word in words(text)? {
        let (number, protocol) = word.split_once('/').unwrap_or((&word, "tcp"));
        let is_port = |text: &str| text.parse::<u16>().is_ok();
        let (first, last) = number.split_once('-').unwrap_or((number, number));
        if !is_port(first) || !is_port(last) {
            return Err(Error::invalid(format!("Invalid containerPort: {number}")));
        }
        ports.insert(format!("{number}/{protocol}"), Empty {});
    }
    Ok(())
}

fn change_directory(config: &mut ContainerDefaults, path: &str) {
    let base = if path.starts_with('/') {
        ""
    } else {
        config.working_dir.as_str()
    };
    config.working_dir = format!(
        "{}/{}",
        base.trim_end_matches('/'),
        path.trim_start_matches('/')
    );
}

/// The words of a JSON list, or a line for the shell.
fn command(text: &str) -> Vec<String> {
    json_words(text).unwrap_or_else(|| {
        let line = (!text.is_empty()).then(|| text.to_owned());
        ["/bin/sh".to_owned(), "-c".to_owned()]
            .into_iter()
            .chain(line)
            .collect()
    })
}

fn json_words(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `a=b "c d"=e`, or of old `a b c` for one name.
fn pairs(instruction: &str, text: &str) -> Result<Vec<(String, String)>> {
    let words = words(text)?;
    if words.first().is_some_and(|word| !word.contains('=')) {
        let (name, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::invalid(format!("{instruction} must have two arguments")))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| match word.split_once('=') {
        Some(("", _)) => Err(Error::invalid(format!(
            "{instruction} names can not be blank"
        ))),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(Error::invalid(format!(
            "Syntax error - can't find = in \"{word}\". Must be of the form: name=value"
        ))),
    };
    words.into_iter().map(pair).collect()
}

/// Words, with quotes and backslashes taken away.
fn words(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                word.get_or_insert_default().extend(characters.next());
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Error::invalid(
            "unexpected end of statement while looking for matching quote",
        ));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_set_defaults() {
        let lines = [
            "CMD [\"a\", \"b c\"]",
            "entrypoint run it",
            "ENV A=1 B=\"two words\"",
            "ENV C three words",
            "ENV A=2",
            "LABEL x='y z'",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/a\", \"/b\"]",
            "USER me",
            "WORKDIR /srv",
            "WORKDIR app",
            "STOPSIGNAL SIGINT",
        ];
        let config = apply_all(ContainerDefaults::default(), lines.into_iter()).expect("is valid");
        let list = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(config.cmd, list(&["a", "b c"]));
        assert_eq!(config.entrypoint, list(&["/bin/sh", "-c", "run it"]));
        assert_eq!(config.env, list(&["B=two words", "C=three words", "A=2"]));
        assert_eq!(config.labels.expect("is set")["x"], "y z");
        let ports: Vec<String> = config.exposed_ports.expect("is set").into_keys().collect();
        assert_eq!(ports, ["80/tcp", "53/udp"]);
        assert_eq!(config.volumes.expect("is set").len(), 2);
        assert_eq!(
            (config.user.as_str(), config.working_dir.as_str()),
            ("me", "/srv/app")
        );
        assert_eq!(config.stop_signal, "SIGINT");
    }

    #[test]
    fn other_instructions_are_refused() {
        let error = |line: &str| {
            apply_all(ContainerDefaults::default(), [line].into_iter())
                .expect_err(line)
                .to_string()
        };
        assert_eq!(error("RUN x"), "RUN is not a valid change command");
        assert_eq!(error("ENV"), "ENV requires at least one argument");
        assert_eq!(error("USER"), "USER requires exactly one argument");
        assert!(error("ENV \"a=b").contains("matching quote"));
        assert!(error("ENV a=b c").contains("can't find = in \"c\""));
    }
}
