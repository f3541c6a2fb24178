//! Seccomp filters: compiled once for each profile and set of capabilities, then handed to shims as a sealed file.

use crate::container::config::{Config, SeccompChoice};
use crate::container::spec;
use crate::host::Host;
use crate::settings::Settings;
use gantry_base::{Context, Result};
use gantry_sys::{memfd, seccomp};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

/// Filters by profile and capabilities; none for a profile that filters nothing.
type Filters = HashMap<(String, Vec<String>), Option<Arc<OwnedFd>>>;

/// Compiled filters by what they were made of.
#[derive(Default)]
pub(crate) struct SeccompCache {
    filters: Mutex<Filters>,
}

/// More different filters than this are not worth keeping.
const FILTERS_MAX: usize = 64;

impl SeccompCache {
    /// The filter of a container; none if it runs unconfined.
    pub(crate) fn filter_for(
        &self,
        config: &Config,
        settings: &Settings,
        host: &Host,
    ) -> Result<Option<OwnedFd>> {
        let profile = match &config.security.seccomp {
            SeccompChoice::Unconfined => return Ok(None),
            SeccompChoice::Default if config.security.privileged => return Ok(None),
            SeccompChoice::Default => match settings.seccomp_profile.as_str() {
                "unconfined" => return Ok(None),
                "" | "builtin" => String::new(),
                path => std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read seccomp profile {path}"))?,
            },
            SeccompChoice::Builtin => String::new(),
            SeccompChoice::Profile(text) => text.clone(),
        };
        let capabilities = spec::effective_capabilities(config, host)?;
        let key = (profile, capabilities);
        let cached = self.lock().get(&key).cloned();
        let filter = if let Some(filter) = cached {
            filter
        } else {
            let filter = compile(&key.0, &key.1, host)?.map(Arc::new);
            let mut filters = self.lock();
            if filters.len() >= FILTERS_MAX {
                filters.clear();
            }
            filters.insert(key, filter.clone());
            filter
        };
        filter
            .map(|filter| {
                filter
                    .try_clone()
                    .context("cannot duplicate the seccomp filter")
            })
            .transpose()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Filters> {
        self.filters
            .lock()
            .expect("no code panics while it holds the filters")
    }
}

fn compile(profile: &str, capabilities: &[String], host: &Host) -> Result<Option<OwnedFd>> {
    let names: Vec<&str> = capabilities.iter().map(String::as_str).collect();
    let document = if profile.is_empty() {
        seccomp::profile::default(&names, seccomp::Arch::NATIVE, host.kernel_version)
    } else {
        seccomp::profile::parse(profile, &names, seccomp::Arch::NATIVE, host.kernel_version)?
    };
    match seccomp::compile(&document)? {
        Some(bytes) => Ok(Some(
            memfd::sealed_bytes("seccomp", &bytes).context("cannot keep the seccomp filter")?,
        )),
        None => Ok(None),
    }
}
