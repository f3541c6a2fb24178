//! `changes` of an import: lines of a Dockerfile that set defaults for containers.

use gantry_base::{Error, Result};
use gantry_oci::image::{ContainerDefaults, Empty};

/// The defaults that all changes together make.
pub(super) fn parse<'a>(changes: impl Iterator<Item = &'a str>) -> Result<ContainerDefaults> {
    let mut config = ContainerDefaults::default();
    for line in changes
        .flat_map(str::lines)
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        apply(&mut config, line)?;
    }
    Ok(config)
}

fn apply(config: &mut ContainerDefaults, line: &str) -> Result<()> {
    let (instruction, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (instruction, rest) = (instruction.to_ascii_uppercase(), rest.trim());
    let needs_one = || Error::invalid(format!("{instruction} requires at least one argument"));
    let exactly_one = || Error::invalid(format!("{instruction} requires exactly one argument"));
    if rest.is_empty() {
        let many = matches!(instruction.as_str(), "USER" | "WORKDIR" | "STOPSIGNAL");
        return Err(if many { exactly_one() } else { needs_one() });
    }
    match instruction.as_str() {
        "CMD" => config.cmd = Some(command(rest)),
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
        "STOPSIGNAL" => rest.clone_into(&mut config.stop_signal),
        "ONBUILD" => config
            .on_build
            .get_or_insert_default()
            .push(rest.to_owned()),
        "HEALTHCHECK" => {
            return Err(Error::not_implemented(
                "HEALTHCHECK as a change is not supported yet",
            ));
        }
        other => {
            let other = other.to_ascii_lowercase();
            return Err(Error::invalid(format!(
                "{other} is not a valid change command"
            )));
        }
    }
    Ok(())
}

fn expose(config: &mut ContainerDefaults, text: &str) -> Result<()> {
    let ports = config.exposed_ports.get_or_insert_default();
    for word in words(text)? {
        let port = if word.contains('/') {
            word
        } else {
            format!("{word}/tcp")
        };
        ports.insert(port, Empty {});
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
    json_words(text).unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into(), text.to_owned()])
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
        let config = parse(lines.into_iter()).expect("is valid");
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
        let error = |line: &str| parse([line].into_iter()).expect_err(line).to_string();
        assert_eq!(error("RUN x"), "run is not a valid change command");
        assert_eq!(error("CMD"), "CMD requires at least one argument");
        assert_eq!(error("USER"), "USER requires exactly one argument");
        assert!(error("ENV \"a=b").contains("matching quote"));
        assert!(error("ENV a=b c").contains("can't find = in \"c\""));
    }
}
