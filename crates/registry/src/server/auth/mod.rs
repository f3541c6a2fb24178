//! Who may do what: nobody is asked, a file of passwords decides, or tokens of another server do.

mod htpasswd;
mod token;

pub use token::TokenOptions;

use super::failure::Failure;
use super::name::RepositoryName;
use crate::challenge::Challenge;
use base64::Engine as _;
use gantry_base::Result;
use htpasswd::PasswordFile;
use hyper::HeaderMap;
use hyper::header;
use std::path::PathBuf;
use std::sync::Arc;
use token::TokenVerifier;

/// How clients prove who they are.
#[derive(Debug, Clone, Default)]
pub enum AuthOptions {
    /// Not at all.
    #[default]
    Open,
    /// By a name and a password in a file of `htpasswd -B`.
    Passwords {
        /// The file; read again when it changes.
        file: PathBuf,
        /// What a browser shows.
        realm: String,
        /// Whether pulling needs no password.
        anonymous_pull: bool,
    },
    /// By a token of another server, whose public key we have.
    Tokens(TokenOptions),
}

/// The rule of one registry.
pub(crate) enum Auth {
    Open,
    Passwords {
        passwords: Arc<PasswordFile>,
        realm: String,
        anonymous_pull: bool,
    },
    Tokens(TokenVerifier),
}

/// What a request does with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// What a request needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    /// To be known, no more.
    Known,
    /// To see the names of all repositories.
    Catalog,
    /// To act on a repository.
    Repository(RepositoryName, Action),
}

impl Access {
    /// As tokens word it.
    fn scope(&self) -> Option<String> {
        match self {
            Self::Known => None,
            Self::Catalog => Some("registry:catalog:*".to_owned()),
            Self::Repository(name, Action::Push) => Some(format!("repository:{name}:pull,push")),
            Self::Repository(name, action) => {
                Some(format!("repository:{name}:{}", action.as_str()))
            }
        }
    }
}

impl Auth {
    /// Reads the files that the options name.
    pub(crate) fn open(options: &AuthOptions) -> Result<Self> {
        Ok(match options {
            AuthOptions::Open => Self::Open,
            AuthOptions::Passwords {
                file,
                realm,
                anonymous_pull,
            } => Self::Passwords {
                passwords: Arc::new(PasswordFile::open(file.clone())?),
                realm: realm.clone(),
                anonymous_pull: *anonymous_pull,
            },
            AuthOptions::Tokens(options) => Self::Tokens(TokenVerifier::open(options)?),
        })
    }

    /// Whether whoever sent these headers may do that; gives the name for the access log, empty for nobody in particular.
    pub(crate) async fn check(
        &self,
        headers: &HeaderMap,
        access: &Access,
    ) -> Result<String, Failure> {
        match self {
            Self::Open => Ok(String::new()),
            Self::Passwords {
                passwords,
                realm,
                anonymous_pull,
            } => {
                let is_pull = matches!(access, Access::Repository(_, Action::Pull));
                let Some((name, password)) = basic(headers) else {
                    if *anonymous_pull && is_pull && !headers.contains_key(header::AUTHORIZATION) {
                        return Ok(String::new());
                    }
                    return Err(Failure::unauthorized(&basic_challenge(realm)));
                };
                if passwords.clone().verify(&name, password).await? {
                    return Ok(name);
                }
                Err(Failure::unauthorized(&basic_challenge(realm)))
            }
            Self::Tokens(verifier) => verifier.check(bearer(headers), access),
        }
    }

    /// Whether mounting by digest alone would show nobody anything that is not open to them.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }
}

fn basic_challenge(realm: &str) -> Challenge {
    Challenge {
        scheme: "basic".to_owned(),
        parameters: vec![("realm".to_owned(), realm.to_owned())],
    }
}

/// The credentials of a scheme.
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (found, rest) = value.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let encoded = credentials(headers, "basic")?;
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}
