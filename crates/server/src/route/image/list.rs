//! `GET /images/json`

use super::super::State;
use crate::request::{Request, invalid};
use crate::response::{self, Response};
use crate::time;
use crate::version::Lowered as _;
use gantry_api::ApiVersion;
use gantry_api::filters::Filters;
use gantry_api::types::ImageSummary;
use gantry_base::{Error, Result};
use gantry_engine::image::types::{DiskUsage, Image};
use std::collections::BTreeSet;
use std::sync::Arc;

pub(super) async fn list(state: State, request: Request) -> Result<Response> {
    let known = ["before", "dangling", "label", "reference", "since", "until"];
    let mut filters = request.filters(&known)?;
    let pattern = request.query.get("filter");
    if !request.at_least(41) && !pattern.is_empty() {
        filters.add("reference", pattern);
    }
    let usage = if request.at_least(42) && request.query.flag("shared-size") {
        Some(state.engine.images.disk_usage()?)
    } else {
        None
    };
    let filter = Filter::new(&state, &filters)?;
    let images = state.engine.images.list();
    let parents = parents(&images);
    let all = request.query.flag("all");
    let shown = |image: &Image| all || !image.is_dangling() || !parents.contains(image.id.as_str());
    let mut summaries = Vec::new();
    for image in images
        .iter()
        .filter(|image| shown(image) && filter.matches(image))
    {
        let mut summary = wire(image, state.engine.images.use_count(image), usage.as_ref());
        if !filter.keep_names(&mut summary) {
            continue;
        }
        if request.at_least(47) && request.query.flag("manifests") {
            let found = super::manifest::manifests(&state, image)?;
            (summary.descriptor, summary.manifests) = found.unzip();
        }
        summaries.push(summary.lowered(request.version));
    }
    Ok(response::ok(&summaries))
}

struct Filter<'a> {
    filters: &'a Filters,
    dangling: Option<bool>,
    before_ns: Option<i64>,
    since_ns: Option<i64>,
}

impl<'a> Filter<'a> {
    fn new(state: &State, filters: &'a Filters) -> Result<Self> {
        let dangling = filters.boolean("dangling").map_err(invalid)?;
        let mut before_ns: Option<i64> = None;
        for name in filters.get("before") {
            let created = state.engine.images.get(name)?.created_ns;
            before_ns = Some(before_ns.map_or(created, |other| other.min(created)));
        }
        for text in filters.get("until") {
            let until = time::until(text, time::now_ns())?;
            before_ns = Some(before_ns.map_or(until, |other| other.min(until)));
        }
        let mut since_ns: Option<i64> = None;
        for name in filters.get("since") {
            let created = state.engine.images.get(name)?.created_ns;
            since_ns = Some(since_ns.map_or(created, |other| other.max(created)));
        }
        Ok(Self {
            filters,
            dangling,
            before_ns,
            since_ns,
        })
    }

    fn matches(&self, image: &Image) -> bool {
        let labels = image.config.config.labels.as_ref();
        let label = |key: &str| {
            labels
                .and_then(|labels| labels.get(key))
                .map(String::as_str)
        };
        self.dangling
            .is_none_or(|wanted| wanted == image.is_dangling())
            && self
                .before_ns
                .is_none_or(|before| image.created_ns < before)
            && self.since_ns.is_none_or(|since| image.created_ns > since)
            && self.filters.matches_labels("label", label)
    }

    /// Leaves only names that a `reference` pattern matches; false if there is none.
    fn keep_names(&self, summary: &mut ImageSummary) -> bool {
        let patterns = self.filters.get("reference");
        if patterns.is_empty() {
            return true;
        }
        let matches = |name: &String, separator: char| {
            let short = name
                .rsplit_once(separator)
                .map_or(name.as_str(), |(short, _)| short);
            patterns
                .iter()
                .any(|pattern| glob(pattern, name) || glob(pattern, short))
        };
        summary.repo_tags.retain(|name| matches(name, ':'));
        summary.repo_digests.retain(|name| matches(name, '@'));
        !(summary.repo_tags.is_empty() && summary.repo_digests.is_empty())
    }
}

/// For `GET /system/df`: the size of all layers, and the images that a list shows.
pub(in crate::route) fn usage(
    state: &State,
    version: ApiVersion,
) -> Result<(i64, Vec<serde_json::Value>)> {
    let usage = state.engine.images.disk_usage()?;
    let images = state.engine.images.list();
    let parents = parents(&images);
    let is_shown =
        |image: &&Arc<Image>| !image.is_dangling() || !parents.contains(image.id.as_str());
    let mut summaries = Vec::new();
    for image in images.iter().filter(is_shown) {
        let containers = state.engine.images.use_count(image);
        let mut summary = wire(image, containers, Some(&usage)).lowered(version);
        // Lists of older versions do not count, this does.
        summary.containers = i64::try_from(containers).unwrap_or(i64::MAX);
        let mut summary = serde_json::to_value(summary)
            .map_err(|error| Error::internal(format!("cannot write JSON: {error}")))?;
        // Docker fills these up in lists only.
        for names in ["RepoTags", "RepoDigests"] {
            if summary[names].as_array().is_some_and(Vec::is_empty) {
                summary[names] = serde_json::Value::Null;
            }
        }
        summaries.push(summary);
    }
    let layers = i64::try_from(usage.layers_bytes).unwrap_or(i64::MAX);
    Ok((layers, summaries))
}

/// Images that others were built on.
fn parents(images: &[Arc<Image>]) -> BTreeSet<String> {
    let parents = images.iter().filter_map(|image| image.parent.as_ref());
    parents.map(ToString::to_string).collect()
}

fn wire(image: &Image, containers: usize, usage: Option<&DiskUsage>) -> ImageSummary {
    let shared = usage.map(|usage| usage.shared_bytes.get(&image.id).copied());
    let labels = image
        .config
        .config
        .labels
        .as_ref()
        .filter(|labels| !labels.is_empty());
    ImageSummary {
        containers: i64::try_from(containers).unwrap_or(i64::MAX),
        created: image.created_ns / 1_000_000_000,
        id: image.id.to_string(),
        labels: labels.map(|map| map.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
        parent_id: image
            .parent
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        repo_digests: image.repo_digests.clone(),
        repo_tags: image.repo_tags.clone(),
        shared_size: shared.map_or(-1, |shared| {
            i64::try_from(shared.unwrap_or_default()).unwrap_or(i64::MAX)
        }),
        size: i64::try_from(image.size_bytes).unwrap_or(i64::MAX),
        ..ImageSummary::default()
    }
}

/// Go's `path.Match`: `*` and `?` stop at slashes, `[a-z]` and `[^a-z]` are sets, `\` takes the next character as it is.
fn glob(pattern: &str, text: &str) -> bool {
    let Some(first) = pattern.chars().next() else {
        return text.is_empty();
    };
    let rest = &pattern[first.len_utf8()..];
    let mut characters = text.chars();
    let next = characters.next();
    match (first, next) {
        ('*', _) => {
            let stop = text.find('/').unwrap_or(text.len());
            let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
            ends.take_while(|at| *at <= stop)
                .any(|at| glob(rest, &text[at..]))
        }
        ('?', Some(c)) => c != '/' && glob(rest, characters.as_str()),
        ('[', Some(c)) => match set(rest, c) {
            Some((true, rest)) => c != '/' && glob(rest, characters.as_str()),
            _ => false,
        },
        ('\\', Some(c)) => rest
            .strip_prefix(c)
            .is_some_and(|rest| glob(rest, characters.as_str())),
        (p, Some(c)) => p == c && glob(rest, characters.as_str()),
        (_, None) => false,
    }
}

/// Whether `c` is in the set that starts `pattern`, and what follows the set; none if the set does not end.
fn set(pattern: &str, c: char) -> Option<(bool, &str)> {
    let (negated, body) = pattern
        .strip_prefix('^')
        .map_or((false, pattern), |body| (true, body));
    let end = body.find(']').filter(|end| *end > 0)?;
    let members: Vec<char> = body[..end].chars().collect();
    let mut found = false;
    let mut at = 0;
    while at < members.len() {
        if at + 2 < members.len() && members[at + 1] == '-' {
            found |= (members[at]..=members[at + 2]).contains(&c);
            at += 3;
        } else {
            found |= members[at] == c;
            at += 1;
        }
    }
    Some((found != negated, &body[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, text) in [
            ("busybox", "busybox"),
            ("busy*", "busybox"),
            ("busybox:*", "busybox:latest"),
            ("*/app", "me/app"),
            ("b?s[x-z]box", "busybox"),
            ("[^a]usybox", "busybox"),
            ("a\\*b", "a*b"),
            ("*", ""),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("busybox", "busybox:latest"),
            ("*", "me/app"),
            ("?", "/"),
            ("[a", "a"),
            ("[^b]usybox", "busybox"),
            ("", "a"),
        ] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_reference_filter_leaves_only_the_names_it_matches() {
        let filters = Filters::parse(r#"{"reference":["busybox"]}"#).expect("is valid");
        let filter = Filter {
            filters: &filters,
            dangling: None,
            before_ns: None,
            since_ns: None,
        };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut summary = ImageSummary {
            repo_tags: names(&["busybox:1", "other:1"]),
            ..Default::default()
        };
        assert!(filter.keep_names(&mut summary));
        assert_eq!(summary.repo_tags, ["busybox:1"]);
        let mut summary = ImageSummary {
            repo_tags: names(&["other:1"]),
            ..Default::default()
        };
        assert!(!filter.keep_names(&mut summary));
    }
}
