//! Operating system and processor of an image.

use serde::{Deserialize, Serialize};

/// `os/architecture[/variant]`, in Go's names; the order of the fields is that of documents that Go writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `amd64 arm64 …`
    pub architecture: String,
    /// `linux`
    pub os: String,
    /// Windows only.
    #[serde(rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Windows only, too.
    #[serde(rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// Such as `v7`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// This machine.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self {
            os: "linux".into(),
            architecture: architecture.into(),
            ..Self::default()
        }
    }
    /// Parses `os/architecture[/variant]`, or an architecture alone.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let (first, second, third) = (parts.next()?, parts.next(), parts.next());
        if parts.next().is_some() || text.is_empty() || text.split('/').any(str::is_empty) {
            return None;
        }
        let (os, architecture) = match second {
            Some(architecture) => (first, architecture),
            None if first == "linux" => {
                return Some(Self {
                    variant: String::new(),
                    ..Self::host()
                });
            }
            None => ("linux", first),
        };
        let (architecture, variant) = match (architecture, third.unwrap_or_default()) {
            ("x86_64" | "x86-64", variant) => ("amd64", variant),
            ("aarch64", variant) => ("arm64", variant),
            ("armhf", "") => ("arm", "v7"),
            ("arm64", "v8") => ("arm64", ""),
            other => other,
        };
        Some(Self {
            os: os.into(),
            architecture: architecture.into(),
            variant: variant.into(),
            ..Self::default()
        })
    }
    /// Whether an image of this platform runs where `wanted` is asked for: equal, the variant being free if `wanted` names none.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let plain = |p: &Self| {
            if p.architecture == "arm64" && p.variant == "v8" {
                String::new()
            } else {
                p.variant.clone()
            }
        };
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (plain(wanted).is_empty() || plain(self) == plain(wanted))
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() {
            Ok(())
        } else {
            write!(f, "/{}", self.variant)
        }
    }
}
