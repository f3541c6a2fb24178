//! Lists: repositories, tags, and what refers to a manifest. Long ones come in pages, with a link to the next.

use super::{Request, blocking, json, only_reading, set};
use crate::media_type;
use crate::server::App;
use crate::server::body::Response;
use crate::server::catalog::Referrer;
use crate::server::failure::Failure;
use crate::server::name::{RepositoryName, percent_encode};
use gantry_oci::ContentDigest;
use hyper::header::{self, HeaderName};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Names in one page unless fewer are asked for.
const PAGE_MAX: usize = 10_000;
/// Referrers in one page; clients read such an answer as a manifest, which is not larger than 4 MiB.
const REFERRERS_MAX: usize = 1000;
const REFERRERS_BYTES_MAX: usize = 3 << 20;

/// `GET /v2/_catalog`
pub(super) async fn repositories(app: &Arc<App>, request: &Request) -> Result<Response, Failure> {
    only_reading(&request.method)?;
    let page = page(request)?;
    let (catalog, last) = (app.storage.catalog.clone(), page.last.clone());
    let names = blocking(move || catalog.repositories(&last, page.most + 1)).await?;
    Ok(respond(
        request,
        "/v2/_catalog",
        page.most,
        names,
        |names| serde_json::json!({"repositories": names}),
    ))
}

/// `GET …/tags/list`
pub(super) async fn tags(
    app: &Arc<App>,
    request: &Request,
    repository: RepositoryName,
) -> Result<Response, Failure> {
    only_reading(&request.method)?;
    let page = page(request)?;
    let (catalog, owner, last) = (
        app.storage.catalog.clone(),
        repository.clone(),
        page.last.clone(),
    );
    let remote = match &app.upstream {
        Some(upstream) => upstream.tags(&repository).await,
        None => None,
    };
    let names = match remote {
        Some(tags) => Some(tags.into_iter().filter(|tag| *tag > page.last).collect()),
        None => blocking(move || catalog.tags(&owner, &last, page.most + 1)).await?,
    };
    let names = names.ok_or_else(|| Failure::repository_unknown(&repository))?;
    let path = format!("/v2/{repository}/tags/list");
    Ok(respond(
        request,
        &path,
        page.most,
        names,
        |names| serde_json::json!({"name": repository.as_str(), "tags": names}),
    ))
}

struct Page {
    most: usize,
    last: String,
}

fn page(request: &Request) -> Result<Page, Failure> {
    let most = match request.query.get("n") {
        None | Some("") => PAGE_MAX,
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| Failure::bad_request("n is not a number"))?
            .min(PAGE_MAX),
    };
    let last = request.query.get("last").unwrap_or_default().to_owned();
    Ok(Page { most, last })
}

/// One more name was read than is shown, to know whether another page follows.
fn respond(
    request: &Request,
    path: &str,
    most: usize,
    mut names: Vec<String>,
    document: impl FnOnce(&[String]) -> serde_json::Value,
) -> Response {
    let has_more = names.len() > most && most > 0;
    names.truncate(most);
    let mut response = json(request, document(&names).to_string().into_bytes());
    if let Some(last) = names.last().filter(|_| has_more) {
        let link = format!(
            "<{path}?n={most}&last={}>; rel=\"next\"",
            percent_encode(last)
        );
        set(&mut response, header::LINK, &link);
    }
    response
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Box<RawValue>>,
}

impl Descriptor {
    fn of(referrer: Referrer) -> Self {
        Self {
            media_type: referrer.media_type,
            digest: referrer.digest,
            size: referrer.size_bytes,
            artifact_type: referrer.artifact_type,
            annotations: referrer
                .annotations
                .and_then(|text| RawValue::from_string(text).ok()),
        }
    }
}

/// `GET …/referrers/<digest>`: an empty list where there are none, whether the manifest exists or not.
pub(super) async fn referrers(
    app: &Arc<App>,
    request: &Request,
    repository: RepositoryName,
    subject: ContentDigest,
) -> Result<Response, Failure> {
    only_reading(&request.method)?;
    let wanted = request
        .query
        .get("artifactType")
        .filter(|kind| !kind.is_empty());
    let (catalog, owner, about) = (
        app.storage.catalog.clone(),
        repository.clone(),
        subject.clone(),
    );
    let kind = wanted.map(str::to_owned);
    let last = request.query.get("last").unwrap_or_default().to_owned();
    let mut found = blocking(move || {
        catalog.referrers(&owner, &about, kind.as_deref(), &last, REFERRERS_MAX + 1)
    })
    .await?;
    let shown = page_length(&found);
    let has_more = found.len() > shown;
    found.truncate(shown);
    let last = found.last().map(|referrer| referrer.digest.clone());
    let index = Index {
        schema_version: 2,
        media_type: media_type::INDEX,
        manifests: found.into_iter().map(Descriptor::of).collect(),
    };
    let text = serde_json::to_vec(&index).expect("strings become JSON");
    let mut response = json(request, text);
    set(&mut response, header::CONTENT_TYPE, media_type::INDEX);
    if wanted.is_some() {
        let applied = HeaderName::from_static("oci-filters-applied");
        set(&mut response, applied, "artifactType");
    }
    if let Some(last) = last.filter(|_| has_more) {
        let filter = wanted.map_or(String::new(), |kind| {
            format!("artifactType={}&", percent_encode(kind).replace('+', "%2B"))
        });
        let link =
            format!("</v2/{repository}/referrers/{subject}?{filter}last={last}>; rel=\"next\"");
        set(&mut response, header::LINK, &link);
    }
    Ok(response)
}

/// How many of these fit; at least one, so that every client gets to the end.
fn page_length(found: &[Referrer]) -> usize {
    let mut bytes = 0;
    let fitting = found.iter().take(REFERRERS_MAX).take_while(|referrer| {
        bytes += 256 + referrer.media_type.len();
        bytes += referrer.artifact_type.as_ref().map_or(0, String::len);
        bytes += referrer.annotations.as_ref().map_or(0, String::len);
        bytes <= REFERRERS_BYTES_MAX
    });
    fitting.count().max(1).min(found.len())
}
