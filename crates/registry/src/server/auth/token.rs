//! Tokens of another server: JSON web tokens in the form of the `distribution` project, checked with a public key.
//!
//! We make no tokens. Sources: RFC 7519, 7515, 8037; the token authentication of the `distribution` project.

use super::{Access, Action};
use crate::challenge::Challenge;
use crate::public_key::PublicKey;
use crate::server::failure::Failure;
use crate::server::storage::now_s;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_base::{Context, Error, Result};
use serde::Deserialize;
use std::path::PathBuf;

/// The longest token that is looked at.
const TOKEN_LENGTH_MAX: usize = 32 << 10;
/// How far the clocks of both servers may be apart.
const LEEWAY_S: i64 = 60;

/// Where tokens come from, and what they must say.
#[derive(Debug, Clone)]
pub struct TokenOptions {
    /// The URL at which clients get them.
    pub realm: String,
    /// The name of this registry, which they must be made for.
    pub service: String,
    /// Who must have made them.
    pub issuer: String,
    /// Public keys or certificates, PEM.
    pub keys: PathBuf,
}

/// Checks tokens.
pub(crate) struct TokenVerifier {
    options: TokenOptions,
    keys: Vec<PublicKey>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    sub: String,
    aud: Audience,
    exp: i64,
    #[serde(default)]
    nbf: i64,
    #[serde(default)]
    access: Vec<Grant>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

#[derive(Deserialize)]
struct Grant {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    actions: Vec<String>,
}

impl TokenVerifier {
    pub(crate) fn open(options: &TokenOptions) -> Result<Self> {
        let read = || format!("cannot read {}", options.keys.display());
        let pem = std::fs::read(&options.keys).with_context(read)?;
        let keys = PublicKey::all_from_pem(&pem).with_context(read)?;
        Ok(Self {
            options: options.clone(),
            keys,
        })
    }

    pub(crate) fn check(&self, token: Option<&str>, access: &Access) -> Result<String, Failure> {
        let Some(token) = token else {
            return Err(self.challenge(access, ""));
        };
        let claims = self.verify(token, now_s()).map_err(|error| {
            tracing::info!(%error, "a token was refused");
            self.challenge(access, "invalid_token")
        })?;
        if !allows(&claims, access) {
            return Err(self.challenge(access, "insufficient_scope"));
        }
        Ok(claims.sub)
    }

    fn challenge(&self, access: &Access, error: &str) -> Failure {
        let mut parameters = vec![
            ("realm".to_owned(), self.options.realm.clone()),
            ("service".to_owned(), self.options.service.clone()),
        ];
        parameters.extend(access.scope().map(|scope| ("scope".to_owned(), scope)));
        if !error.is_empty() {
            parameters.push(("error".to_owned(), error.to_owned()));
        }
        Failure::unauthorized(&Challenge {
            scheme: "bearer".to_owned(),
            parameters,
        })
    }

    fn verify(&self, token: &str, now_s: i64) -> Result<Claims> {
        let refuse = |what: &str| Error::invalid(format!("token {what}"));
        if token.len() > TOKEN_LENGTH_MAX {
            return Err(refuse("is too long"));
        }
        let (signed, signature) = token
            .rsplit_once('.')
            .ok_or_else(|| refuse("has no signature"))?;
        let (header, claims) = signed
            .split_once('.')
            .ok_or_else(|| refuse("has no claims"))?;
        let decode = |text: &str| {
            URL_SAFE_NO_PAD
                .decode(text)
                .map_err(|_| refuse("is not base64"))
        };
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| refuse("has no header"))?;
        let signature = decode(signature)?;
        let is_signed = self
            .keys
            .iter()
            .any(|key| key.verify_token(&header.alg, signed.as_bytes(), &signature));
        if !is_signed {
            return Err(refuse("is not signed with a known key"));
        }
        let claims: Claims =
            serde_json::from_slice(&decode(claims)?).map_err(|_| refuse("has other claims"))?;
        let is_for_us = match &claims.aud {
            Audience::One(name) => *name == self.options.service,
            Audience::Several(names) => names.contains(&self.options.service),
        };
        if claims.iss != self.options.issuer {
            return Err(refuse("is of another issuer"));
        }
        if !is_for_us {
            return Err(refuse("is for another service"));
        }
        if claims.exp.saturating_add(LEEWAY_S) < now_s {
            return Err(refuse("has expired"));
        }
        if claims.nbf.saturating_sub(LEEWAY_S) > now_s {
            return Err(refuse("is not valid yet"));
        }
        Ok(claims)
    }
}

fn allows(claims: &Claims, access: &Access) -> bool {
    let grants = |kind: &str, name: &str, action: &str| {
        claims.access.iter().any(|grant| {
            grant.kind == kind
                && grant.name == name
                && grant
                    .actions
                    .iter()
                    .any(|known| known == action || known == "*")
        })
    };
    match access {
        Access::Known => true,
        Access::Catalog => grants("registry", "catalog", "*"),
        Access::Repository(name, action) => {
            let name = name.as_str();
            grants("repository", name, action.as_str())
                && (*action != Action::Push || grants("repository", name, "pull"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public_key::tests::pem_of;
    use crate::server::name::RepositoryName;
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use serde_json::json;

    fn verifier(keys: Vec<PublicKey>) -> TokenVerifier {
        let options = TokenOptions {
            realm: "https://auth.example/token".into(),
            service: "registry.example".into(),
            issuer: "auth.example".into(),
            keys: PathBuf::new(),
        };
        TokenVerifier { options, keys }
    }

    fn token(alg: &str, claims: &serde_json::Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": alg, "typ": "JWT"}).to_string());
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()))
        )
    }

    fn claims() -> serde_json::Value {
        json!({
            "iss": "auth.example", "sub": "anna", "aud": "registry.example", "exp": now_s() + 300, "nbf": now_s(),
            "access": [{"type": "repository", "name": "a/b", "actions": ["pull", "push"]}],
        })
    }

    #[test]
    fn a_token_allows_what_it_names_and_no_more() {
        let pair = Ed25519KeyPair::generate().expect("is made");
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("is encoded");
        let keys = PublicKey::all_from_pem(pem_of(der.as_ref()).as_bytes());
        let verifier = verifier(keys.expect("are read"));
        let sign = |message: &[u8]| pair.sign(message).as_ref().to_vec();
        let good = token("EdDSA", &claims(), sign);
        let repository = |name: &str, action| {
            Access::Repository(RepositoryName::parse(name).expect("is one"), action)
        };
        for (access, is_allowed) in [
            (Access::Known, true),
            (repository("a/b", Action::Pull), true),
            (repository("a/b", Action::Push), true),
            (repository("a/b", Action::Delete), false),
            (repository("a/c", Action::Pull), false),
            (Access::Catalog, false),
        ] {
            assert_eq!(
                verifier.check(Some(&good), &access).is_ok(),
                is_allowed,
                "{access:?}"
            );
        }
        assert!(verifier.check(None, &Access::Known).is_err());
        for (field, value) in [
            ("iss", json!("mallory")),
            ("aud", json!(["other"])),
            ("exp", json!(now_s() - 1000)),
            ("nbf", json!(now_s() + 1000)),
        ] {
            let mut claims = claims();
            claims[field] = value;
            assert!(
                verifier
                    .check(Some(&token("EdDSA", &claims, sign)), &Access::Known)
                    .is_err(),
                "{field}"
            );
        }
        let last = if good.ends_with('A') { "B" } else { "A" };
        let forged = format!("{}{last}", &good[..good.len() - 1]);
        assert!(verifier.check(Some(&forged), &Access::Known).is_err());
        for alg in ["none", "HS256", "ES256", "RS256"] {
            assert!(
                verifier
                    .check(Some(&token(alg, &claims(), sign)), &Access::Known)
                    .is_err(),
                "{alg}"
            );
        }
    }
}
