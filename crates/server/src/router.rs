//! The table of routes. A pattern has at most one `{}`, which may stand in the middle and matches any text, slashes included.
//!
//! Paths without `{}` are tried first; patterns in the order in which they were added.

use hyper::Method;
use std::collections::HashMap;

/// Routes with what serves them.
#[derive(Debug)]
pub(crate) struct Router<H> {
    exact: HashMap<&'static str, Vec<(Method, H)>>,
    /// By first segment of the path.
    patterns: HashMap<&'static str, Vec<Pattern<H>>>,
}

#[derive(Debug)]
struct Pattern<H> {
    method: Method,
    before: &'static str,
    after: &'static str,
    target: H,
}

/// A path and method that are served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Match<'a, H> {
    /// What serves it.
    pub target: &'a H,
    /// The text in place of `{}`.
    pub name: &'a str,
}

impl<H> Router<H> {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self {
            exact: HashMap::new(),
            patterns: HashMap::new(),
        }
    }

    /// Adds a route.
    pub(crate) fn add(&mut self, method: Method, path: &'static str, target: H) {
        match path.split_once("{}") {
            None => self.exact.entry(path).or_default().push((method, target)),
            Some((before, after)) => {
                let pattern = Pattern {
                    method,
                    before,
                    after,
                    target,
                };
                self.patterns
                    .entry(first_segment(path))
                    .or_default()
                    .push(pattern);
            }
        }
    }

    /// Looks up a decoded path without its version.
    pub(crate) fn find<'a>(&'a self, method: &Method, path: &'a str) -> Option<Match<'a, H>> {
        let exact = self
            .exact
            .get(path)
            .into_iter()
            .flatten()
            .find(|(m, _)| m == method);
        if let Some((_, target)) = exact {
            return Some(Match { target, name: "" });
        }
        self.patterns
            .get(first_segment(path))?
            .iter()
            .find_map(|pattern| {
                let name = path
                    .strip_prefix(pattern.before)?
                    .strip_suffix(pattern.after)?;
                (pattern.method == method).then_some(Match {
                    target: &pattern.target,
                    name,
                })
            })
    }
}

fn first_segment(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split_once('/').map_or(path, |(first, _)| first)
}

/// Takes `/v1.43` off a path.
pub(crate) fn split_version(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/v") else {
        return (None, path);
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let version = &rest[..end];
    if version.is_empty() || !version.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return (None, path);
    }
    (Some(version), &rest[end..])
}

/// The path without empty, `.` and `..` segments; none if it has none.
pub(crate) fn cleaned(path: &str) -> Option<String> {
    let odd = |segment: &str| matches!(segment, "" | "." | "..");
    let inside = path.strip_prefix('/')?;
    let trailing = inside.strip_suffix('/').unwrap_or(inside);
    if trailing.is_empty() || !trailing.split('/').any(odd) {
        return None;
    }
    let mut segments = Vec::new();
    for segment in inside.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let slash = if path.ends_with('/') && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    Some(format!("/{}{slash}", segments.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router<&'static str> {
        let mut router = Router::new();
        router.add(Method::GET, "/containers/json", "list");
        router.add(Method::GET, "/containers/{}/json", "inspect");
        router.add(Method::DELETE, "/containers/{}", "remove");
        router.add(Method::GET, "/images/{}/json", "image");
        router.add(Method::GET, "/images/{}/get", "save");
        router
    }

    #[test]
    fn wildcards_may_stand_in_the_middle_and_hold_slashes() {
        let router = router();
        let find = |method: Method, path: &'static str| {
            router
                .find(&method, path)
                .map(|found| (*found.target, found.name.to_owned()))
        };
        assert_eq!(
            find(Method::GET, "/containers/json"),
            Some(("list", String::new()))
        );
        assert_eq!(
            find(Method::GET, "/containers/json/json"),
            Some(("inspect", "json".into()))
        );
        assert_eq!(
            find(Method::DELETE, "/containers/json"),
            Some(("remove", "json".into()))
        );
        let name = "host:5000/a/b@sha256:00".to_owned();
        assert_eq!(
            find(Method::GET, "/images/host:5000/a/b@sha256:00/json"),
            Some(("image", name))
        );
        assert_eq!(
            find(Method::GET, "/images/get/get"),
            Some(("save", "get".into()))
        );
        for (method, path) in [
            (Method::POST, "/containers/json"),
            (Method::GET, "/containers/"),
            (Method::GET, "/containers"),
            (Method::GET, "/images/json"),
            (Method::GET, "/image/a/json"),
            (Method::GET, ""),
            (Method::GET, "/"),
        ] {
            assert_eq!(find(method, path), None, "{path}");
        }
    }

    #[test]
    fn the_version_is_optional() {
        assert_eq!(split_version("/v1.43/info"), (Some("1.43"), "/info"));
        assert_eq!(split_version("/info"), (None, "/info"));
        assert_eq!(split_version("/volumes/x"), (None, "/volumes/x"));
        assert_eq!(split_version("/v1.43"), (Some("1.43"), ""));
        assert_eq!(split_version("/v/info"), (None, "/v/info"));
    }

    #[test]
    fn odd_paths_are_cleaned() {
        assert_eq!(cleaned("/v1.44/../info").as_deref(), Some("/info"));
        assert_eq!(cleaned("//info").as_deref(), Some("/info"));
        assert_eq!(cleaned("/a/./b//c/").as_deref(), Some("/a/b/c/"));
        assert_eq!(cleaned("/../../..").as_deref(), Some("/"));
        for plain in ["/info", "/networks/", "/", "/images/a..b/json", "*"] {
            assert_eq!(cleaned(plain), None, "{plain}");
        }
    }
}
