//! `docker pull`, and the pull of an image that a new container needs.

use crate::command::{Arity, Command};
use crate::config_file::AuthConfig;
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output;
use crate::progress::{self, Target};
use crate::session::{self, Session};
use base64::Engine as _;
use gantry_api::client::{Request, Response};
use gantry_oci::Reference;
use gantry_oci::reference::DEFAULT_DOMAIN;

/// The name under which Docker keeps the credentials of its own registry.
const HUB: &str = "https://index.docker.io/v1/";

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["pull"],
    top_level: Some("pull"),
    arguments: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    arity: Arity::Exactly(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::boolean("all-tags", "Download all tagged images in the repository").short('a'),
        Flag::boolean("disable-content-trust", "Skip the image's verification").default("true"),
        Flag::text(
            "platform",
            "Platform of the image, if the server has several",
        ),
        Flag::boolean("quiet", "Suppress the progress").short('q'),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let name = given.arguments[0].as_str();
    let reference = Reference::parse(name)?;
    let (all, quiet) = (given.bool("all-tags"), given.bool("quiet"));
    let is_named_fully = reference.tag.is_some() || reference.digest.is_some();
    if all && is_named_fully {
        return Err(Failure::new("tag can't be used with --all-tags/-a"));
    }
    let reference = if all {
        reference
    } else {
        reference.with_default_tag()
    };
    if !all && !is_named_fully && !quiet {
        output::print_line("Using default tag: latest");
    }
    session.block_on(async {
        let answer = begin(session, &reference, &session::platform(given)).await?;
        progress::show(
            answer,
            if quiet {
                Target::Nowhere
            } else {
                Target::Stdout
            },
        )
        .await?;
        output::print_line(&reference.to_string());
        Ok(())
    })
}

/// Pulls an image before a container is made of it; what is shown goes to standard error.
pub(crate) async fn pull_for_container(
    session: &Session,
    image: &str,
    platform: &str,
    quiet: bool,
) -> Outcome {
    let reference = Reference::parse(image)?.with_default_tag();
    let answer = begin(session, &reference, platform).await?;
    progress::show(
        answer,
        if quiet {
            Target::Nowhere
        } else {
            Target::Stderr
        },
    )
    .await
}

async fn begin<'a>(
    session: &'a Session,
    reference: &Reference,
    platform: &str,
) -> Outcome<Response<'a>> {
    let tag = reference
        .digest
        .as_ref()
        .map(ToString::to_string)
        .or_else(|| reference.tag.clone())
        .unwrap_or_default();
    let request = Request::post("/images/create")
        .query("fromImage", reference.full_name())
        .query_if(!tag.is_empty(), "tag", &tag)
        .query_if(!platform.is_empty(), "platform", platform.to_lowercase());
    let request = match credentials(session, &reference.domain)? {
        Some(header) => request.header("x-registry-auth", header),
        None => request,
    };
    Ok(session.client()?.send(request).await?)
}

/// The header with the credentials for a registry, where the configuration file has them.
fn credentials(session: &Session, domain: &str) -> Outcome<Option<String>> {
    let server = if domain == DEFAULT_DOMAIN {
        HUB
    } else {
        domain
    };
    let auths = &session.config().auths;
    let bare = |name: &str| {
        let name = name
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        name.split('/').next().unwrap_or_default().to_owned()
    };
    let found = auths.get(server).or_else(|| {
        auths
            .iter()
            .find(|(name, _)| bare(name) == bare(server))
            .map(|(_, auth)| auth)
    });
    let Some(auth) = found else { return Ok(None) };
    Ok(Some(header(auth, server)?))
}

fn header(auth: &AuthConfig, server: &str) -> Outcome<String> {
    let mut fields = serde_json::Map::new();
    if !auth.auth.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(&auth.auth)
            .ok();
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let (user, password) = text
            .as_deref()
            .and_then(|text| text.split_once(':'))
            .ok_or_else(|| {
                Failure::new(format!(
                    "invalid auth configuration file: credentials of {server}"
                ))
            })?;
        fields.insert("username".into(), user.into());
        fields.insert("password".into(), password.trim_end_matches('\0').into());
    }
    fields.insert("serveraddress".into(), server.into());
    for (name, token) in [
        ("identitytoken", &auth.identity_token),
        ("registrytoken", &auth.registry_token),
    ] {
        if !token.is_empty() {
            fields.insert(name.into(), token.as_str().into());
        }
    }
    let json = serde_json::Value::Object(fields).to_string();
    Ok(base64::engine::general_purpose::URL_SAFE.encode(json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_travel_as_url_safe_base64() {
        let auth = AuthConfig {
            auth: "bWU6c2VjcmV0".into(),
            ..AuthConfig::default()
        };
        let header = header(&auth, "r.example").expect("is valid");
        let json = base64::engine::general_purpose::URL_SAFE
            .decode(header)
            .expect("is base64");
        let json: serde_json::Value = serde_json::from_slice(&json).expect("is JSON");
        assert_eq!(
            json,
            serde_json::json!({"username": "me", "password": "secret", "serveraddress": "r.example"})
        );
    }
}
