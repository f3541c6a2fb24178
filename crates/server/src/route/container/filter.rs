//! The filters of `GET /containers/json`.

use super::super::State;
use super::create::ports;
use super::list::{health, port_summaries};
use crate::request::{invalid, quoted};
use gantry_api::filters::Filters;
use gantry_base::{Error, Result};
use gantry_engine::container::config::Protocol;
use gantry_engine::container::view::{ContainerView, MountView};
use regex_lite::Regex;

/// Their names.
pub(super) const FILTERS: [&str; 15] = [
    "ancestor",
    "before",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "name",
    "network",
    "publish",
    "since",
    "status",
    "volume",
];

/// The filters of a list, parsed.
pub(super) struct Filter<'a> {
    filters: &'a Filters,
    names: Vec<Regex>,
    exit_codes: Vec<i32>,
    images: Option<Vec<String>>,
    published: Vec<(u16, u16, Protocol)>,
    exposed: Vec<(u16, u16, Protocol)>,
    is_task: Option<bool>,
}

impl<'a> Filter<'a> {
    pub(super) fn new(state: &State, filters: &'a Filters) -> Result<Self> {
        let exit_code = |text: &String| {
            text.parse().map_err(|_| {
                let error = format!("strconv.Atoi: parsing {}: invalid syntax", quoted(text));
                Error::invalid(format!("invalid filter 'exited={text}': {error}"))
            })
        };
        let statuses = [
            "created",
            "running",
            "paused",
            "restarting",
            "removing",
            "exited",
            "dead",
        ];
        check_words(filters, "status", "state", &statuses)?;
        check_words(
            filters,
            "health",
            "health",
            &["none", "starting", "healthy", "unhealthy"],
        )?;
        let image = |name: &String| Some(state.engine.images.get(name).ok()?.id.to_string());
        let ancestors = filters.get("ancestor");
        Ok(Self {
            filters,
            names: filters
                .get("name")
                .iter()
                .filter_map(|text| Regex::new(text).ok())
                .collect(),
            exit_codes: filters
                .get("exited")
                .iter()
                .map(exit_code)
                .collect::<Result<_>>()?,
            images: (!ancestors.is_empty()).then(|| ancestors.iter().filter_map(image).collect()),
            published: port_filter(filters, "publish")?,
            exposed: port_filter(filters, "expose")?,
            is_task: filters.boolean("is-task").map_err(invalid)?,
        })
    }

    pub(super) fn matches(&self, view: &ContainerView) -> bool {
        let label = |key: &str| view.config.labels.get(key).map(String::as_str);
        let ids = self.filters.get("id");
        self.name_matches(view.name.as_str())
            && (ids.is_empty() || ids.iter().any(|id| view.id.as_str().starts_with(id)))
            && self.is_task != Some(true)
            && self.filters.matches_labels("label", label)
            && self
                .filters
                .matches_exactly("status", view.state.status.as_str())
            && self.filters.matches_exactly("health", health(view))
            && self.exit_code_matches(view)
            && self.volume_matches(view)
            && self
                .images
                .as_ref()
                .is_none_or(|ids| ids.iter().any(|id| id == view.image.as_str()))
            && self.network_matches(view)
            && self.ports_match(view)
    }

    /// Names are regular expressions, found in the name with or without its slash.
    fn name_matches(&self, name: &str) -> bool {
        let given = self.filters.get("name");
        given.is_empty()
            || self
                .names
                .iter()
                .any(|wanted| wanted.is_match(name) || wanted.is_match(&format!("/{name}")))
            || given.iter().any(|wanted| wanted == name)
    }

    fn exit_code_matches(&self, view: &ContainerView) -> bool {
        let ended = !view.state.status.is_live() && view.state.started_ns.is_some();
        self.exit_codes.is_empty() || ended && self.exit_codes.contains(&view.state.exit_code)
    }

    fn volume_matches(&self, view: &ContainerView) -> bool {
        let wanted = self.filters.get("volume");
        let matches = |mount: &MountView| {
            let name = if mount.name.is_empty() {
                &mount.source
            } else {
                &mount.name
            };
            wanted.contains(&mount.destination) || wanted.contains(name)
        };
        wanted.is_empty() || view.mounts.iter().any(matches)
    }

    fn network_matches(&self, view: &ContainerView) -> bool {
        let wanted = self.filters.get("network");
        let on_it = |name: &String| {
            view.networks.iter().any(|endpoint| {
                &endpoint.network == name
                    || !endpoint.network_id.is_empty()
                        && endpoint.network_id.starts_with(name.as_str())
            })
        };
        wanted.is_empty() || wanted.iter().any(on_it)
    }

    fn ports_match(&self, view: &ContainerView) -> bool {
        if self.published.is_empty() && self.exposed.is_empty() {
            return true;
        }
        let within = |ranges: &[(u16, u16, Protocol)], port: u16, kind: &str| {
            ranges.iter().any(|(first, last, protocol)| {
                (*first..=*last).contains(&port) && protocol.as_str() == kind
            })
        };
        port_summaries(view).iter().any(|port| {
            port.public_port
                .is_some_and(|public| within(&self.published, public, &port.kind))
                || within(&self.exposed, port.private_port, &port.kind)
        })
    }
}

fn check_words(filters: &Filters, name: &str, what: &str, known: &[&str]) -> Result<()> {
    match filters
        .get(name)
        .iter()
        .find(|value| !known.contains(&value.as_str()))
    {
        None => Ok(()),
        Some(value) => Err(Error::invalid(format!(
            "invalid filter '{name}={value}': invalid value for {what} ({value}): must be one of {}",
            known.join(", ")
        ))),
    }
}

fn port_filter(filters: &Filters, name: &str) -> Result<Vec<(u16, u16, Protocol)>> {
    let parse = |text: &String| {
        if text.contains(':') {
            return Err(Error::internal(format!(
                "filter for '{name}' should not contain ':': {text}"
            )));
        }
        ports::filter(text).ok_or_else(|| {
            let error = format!(
                "strconv.ParseUint: parsing {}: invalid syntax",
                quoted(text)
            );
            Error::internal(format!("error while looking up for {name} {text}: {error}"))
        })
    };
    filters.get(name).iter().map(parse).collect()
}
