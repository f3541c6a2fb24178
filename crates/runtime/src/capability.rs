//! Applies a process's five capability sets to the calling thread.
//!
//! The order of a container's start: [`Sets::drop_bounding`], [`keep_across_setuid`], setgroups/setgid/setuid, [`Sets::apply`].
//! Names and Docker's defaults live in `gantry_oci::capability`. See capabilities(7).

use gantry_base::{Context, Result};
use gantry_oci::{capability, runtime::Capabilities};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// The five sets, as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sets {
    /// What the process and its children can ever have.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// Kept across execve by files that say so.
    pub inheritable: u64,
    /// Can be made effective.
    pub permitted: u64,
    /// Kept across execve of plain files.
    pub ambient: u64,
}

impl Sets {
    /// The sets of an OCI document, and the names in it that this program does not know: runc warns of those and goes on.
    pub fn parse(document: &Capabilities) -> (Self, Vec<String>) {
        let mut unknown = Vec::new();
        let mut mask = |names: &[String]| {
            let mut bits = 0;
            for name in names {
                match capability::number(name) {
                    Some(number) => bits |= 1 << number,
                    None if unknown.contains(name) => {}
                    None => unknown.push(name.clone()),
                }
            }
            bits
        };
        let sets = Self {
            bounding: mask(&document.bounding),
            effective: mask(&document.effective),
            inheritable: mask(&document.inheritable),
            permitted: mask(&document.permitted),
            ambient: mask(&document.ambient),
        };
        (sets, unknown)
    }

    /// Drops everything else from the bounding set. Needs `CAP_SETPCAP`, so it comes before a change of user.
    pub fn drop_bounding(&self) -> Result<()> {
        for number in 0..64 {
            if self.bounding & (1 << number) != 0 {
                continue;
            }
            let one = CapabilitySet::from_bits_retain(1 << number);
            match thread::remove_capability_from_bounding_set(one) {
                Ok(()) => {}
                // The first number past the kernel's last capability.
                Err(rustix::io::Errno::INVAL) => break,
                Err(error) => {
                    return Err(std::io::Error::from(error))
                        .context("unable to apply bounding set");
                }
            }
        }
        Ok(())
    }

    /// Sets effective, permitted and inheritable, then ambient.
    pub fn apply(&self) -> Result<()> {
        let sets = CapabilitySets {
            effective: CapabilitySet::from_bits_retain(self.effective),
            permitted: CapabilitySet::from_bits_retain(self.permitted),
            inheritable: CapabilitySet::from_bits_retain(self.inheritable),
        };
        thread::set_capabilities(None, sets)
            .map_err(std::io::Error::from)
            .context("unable to apply caps")?;
        thread::clear_ambient_capability_set()
            .map_err(std::io::Error::from)
            .context("can't clear ambient capabilities")?;
        for number in (0..64).filter(|number| self.ambient & (1 << number) != 0) {
            let one = CapabilitySet::from_bits_retain(1 << number);
            thread::configure_capability_in_ambient_set(one, true)
                .map_err(std::io::Error::from)
                .with_context(|| {
                    format!(
                        "can't raise ambient capability {}",
                        capability::name(number).unwrap_or("unknown")
                    )
                })?;
        }
        Ok(())
    }
}

/// Whether permitted capabilities survive a change from user 0 to another (`PR_SET_KEEPCAPS`); execve resets it.
pub fn keep_across_setuid(keep: bool) -> Result<()> {
    thread::set_keep_capabilities(keep)
        .map_err(std::io::Error::from)
        .context("unable to set keep caps")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_bits_and_unknown_ones_are_told_once() {
        let one = |name: &str| vec![name.to_owned()];
        let document = Capabilities {
            bounding: vec![
                "CAP_CHOWN".to_owned(),
                "CAP_BPF".to_owned(),
                "CAP_FLY".to_owned(),
            ],
            effective: one("CAP_CHOWN"),
            permitted: one("CAP_FLY"),
            ..Capabilities::default()
        };
        let (sets, unknown) = Sets::parse(&document);
        assert_eq!(
            sets,
            Sets {
                bounding: 1 | 1 << 39,
                effective: 1,
                ..Sets::default()
            }
        );
        assert_eq!(unknown, ["CAP_FLY"]);
    }

    #[test]
    fn the_kernel_has_all_five_sets_afterwards() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        // Capabilities belong to a thread.
        let status = std::thread::spawn(|| {
            let bits = |numbers: &[u32]| numbers.iter().map(|number| 1 << number).sum();
            let sets = Sets {
                bounding: bits(&[0, 6, 10]),
                effective: bits(&[0, 10]),
                permitted: bits(&[0, 6, 10]),
                inheritable: bits(&[10]),
                ambient: bits(&[10]),
            };
            keep_across_setuid(true).expect("is set");
            sets.drop_bounding().expect("is dropped");
            sets.apply().expect("is set");
            let wider = Sets {
                permitted: bits(&[21]),
                ..sets
            };
            assert_eq!(
                wider
                    .apply()
                    .expect_err("is more than there is")
                    .to_string(),
                "unable to apply caps: operation not permitted"
            );
            std::fs::read_to_string("/proc/thread-self/status").expect("is read")
        });
        let status = status.join().expect("ends");
        for (name, value) in [
            ("CapInh", "400"),
            ("CapPrm", "441"),
            ("CapEff", "401"),
            ("CapBnd", "441"),
            ("CapAmb", "400"),
        ] {
            assert!(
                status.contains(&format!("{name}:\t0000000000000{value}")),
                "{name} in {status}"
            );
        }
    }
}
