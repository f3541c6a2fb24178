//! `--security-opt`: seccomp profiles are read here and travel as JSON, `systempaths` never travels.

use crate::json_text;

/// The options for the daemon, and whether no system path is hidden.
pub(super) struct Security {
    pub(super) options: Option<Vec<String>>,
    pub(super) is_unconfined: bool,
}

/// Reads all `--security-opt`.
pub(super) fn parse(texts: &[String]) -> Result<Security, String> {
    let mut options = Vec::new();
    let mut is_unconfined = false;
    for text in texts {
        if text == "systempaths=unconfined" {
            is_unconfined = true;
            continue;
        }
        options.push(parse_one(text)?);
    }
    Ok(Security {
        options: (!texts.is_empty()).then_some(options),
        is_unconfined,
    })
}

fn parse_one(text: &str) -> Result<String, String> {
    let (key, value) = match text.split_once('=') {
        Some(pair) => pair,
        None if text == "no-new-privileges" => return Ok(text.to_owned()),
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if value.is_empty() && key != "no-new-privileges" {
        return Err(format!("Invalid --security-opt: {text:?}"));
    }
    if key != "seccomp" || matches!(value, "builtin" | "unconfined") {
        return Ok(text.to_owned());
    }
    let profile = std::fs::read_to_string(value).map_err(|error| {
        let reason = gantry_base::Error::from(error);
        format!(
            "opening seccomp profile ({value}) failed: open {value}: {}",
            reason.message()
        )
    })?;
    serde_json::from_str::<serde::de::IgnoredAny>(&profile).map_err(|error| {
        format!("compacting json for seccomp profile ({value}) failed: {error}")
    })?;
    Ok(format!("seccomp={}", json_text::compact(&profile)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_travel_compact_and_paths_do_not_travel() {
        let file = tempfile::NamedTempFile::new().expect("can create");
        std::fs::write(file.path(), "{ \"b\" : \"x \\\" y\",\n \"a\":[1, 2] }").expect("can write");
        let option = format!("seccomp={}", file.path().display());
        let security = parse(&[
            option,
            "systempaths=unconfined".into(),
            "label:disable".into(),
        ])
        .expect("is valid");
        assert!(security.is_unconfined);
        let options = security.options.expect("were given");
        assert_eq!(
            options,
            [r#"seccomp={"b":"x \" y","a":[1,2]}"#, "label:disable"]
        );
        assert!(parse(&["apparmor".into()]).is_err());
        assert!(parse(&["seccomp=/nonexistent".into()]).is_err());
    }
}
