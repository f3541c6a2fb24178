//! The guest's kernel: Debian's cloud kernel as its package has it, and those of its modules that a daemon needs.
//!
//! The guest loads modules by need, as any machine does, so it gets the tables that `depmod` would have written.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Wanted modules by name; those that they need come along. All of nftables is wanted too.
const WANTED: [&str; 9] = [
    "overlay",
    "veth",
    "bridge",
    "br_netfilter",
    "loop",
    "macvlan",
    "ipvlan",
    "dummy",
    "8021q",
];
const WANTED_PREFIXES: [&str; 2] = ["nft_", "nf_"];

/// An unpacked kernel.
pub(super) struct Kernel {
    pub(super) image: PathBuf,
    /// `lib/modules/RELEASE` beside the image.
    modules: Option<PathBuf>,
}

/// What goes into `/lib/modules/RELEASE` of a guest.
pub(super) struct Modules {
    pub(super) release: String,
    pub(super) files: Vec<(String, Vec<u8>)>,
}

struct Module {
    needs: Vec<String>,
    aliases: Vec<String>,
    content: Vec<u8>,
}

impl Kernel {
    /// `image` is `boot/vmlinuz-RELEASE` of an unpacked package, or any kernel, which then has no modules.
    fn at(image: PathBuf) -> Result<Self, String> {
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let release = name.strip_prefix("vmlinuz-").unwrap_or("none");
        let modules = image
            .parent()
            .and_then(Path::parent)
            .map(|root| root.join("lib/modules").join(release))
            .filter(|folder| folder.is_dir());
        if image.is_file() {
            Ok(Self { image, modules })
        } else {
            Err(format!("{} is not a kernel", image.display()))
        }
    }

    /// The wanted modules, and tables for `modprobe`.
    pub(super) fn modules(&self) -> Result<Modules, String> {
        let folder = self
            .modules
            .as_ref()
            .ok_or("the kernel has no lib/modules beside its boot: unpack its package")?;
        let mut paths = BTreeMap::new();
        collect(&folder.join("kernel"), &mut paths).map_err(|error| error.to_string())?;
        let mut queue: Vec<String> = paths
            .keys()
            .filter(|name| {
                WANTED.contains(&name.as_str())
                    || WANTED_PREFIXES
                        .iter()
                        .any(|prefix| name.starts_with(prefix))
            })
            .cloned()
            .collect();
        let mut found: BTreeMap<String, Module> = BTreeMap::new();
        while let Some(name) = queue.pop() {
            if found.contains_key(&name) {
                continue;
            }
            // What is not a file is built into the kernel.
            let Some(path) = paths.get(&name) else {
                continue;
            };
            let module = Module::read(path)?;
            queue.extend(module.needs.iter().cloned());
            found.insert(name, module);
        }
        let release = folder.file_name().unwrap_or_default().to_string_lossy();
        Ok(Modules {
            release: release.into_owned(),
            files: tables(found),
        })
    }
}

impl Module {
    fn read(path: &Path) -> Result<Self, String> {
        let tool = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xz") => Some("xz"),
            Some("zst") => Some("zstd"),
            _ => None,
        };
        let content = match tool {
            Some(tool) => {
                let mut command = Command::new(tool);
                super::raw_output(
                    command
                        .args(["--decompress", "--stdout", "--quiet"])
                        .arg(path),
                )?
            }
            None => std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?,
        };
        // The section .modinfo is a list of strings that end with zero bytes.
        let values = |key: &str| -> Vec<String> {
            content
                .split(|byte| *byte == 0)
                .filter_map(|text| text.strip_prefix(key.as_bytes()))
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect()
        };
        let needs = values("depends=").concat();
        Ok(Self {
            needs: needs.split(',').map(normal).collect(),
            aliases: values("alias="),
            content,
        })
    }
}

/// The modules, flat, with `modules.dep` and `modules.alias`.
fn tables(found: BTreeMap<String, Module>) -> Vec<(String, Vec<u8>)> {
    let file = |name: &str| format!("{name}.ko");
    let (mut needs, mut aliases) = (String::new(), String::new());
    for (name, module) in &found {
        let all = needed(name, &found);
        let files: Vec<String> = all.iter().map(|need| file(need)).collect();
        let _ = writeln!(needs, "{}: {}", file(name), files.join(" "));
        for alias in &module.aliases {
            let _ = writeln!(aliases, "alias {alias} {name}");
        }
    }
    let mut files = vec![
        ("modules.dep".to_owned(), needs.into_bytes()),
        ("modules.alias".to_owned(), aliases.into_bytes()),
    ];
    files.extend(
        found
            .into_iter()
            .map(|(name, module)| (file(&name), module.content)),
    );
    files
}

/// What has to be loaded for a module, the last first.
fn needed<'a>(name: &str, found: &'a BTreeMap<String, Module>) -> Vec<&'a str> {
    let mut order = Vec::new();
    let mut queue: Vec<&str> = vec![name];
    while let Some(next) = queue.pop() {
        for need in found.get(next).into_iter().flat_map(|module| &module.needs) {
            if found.contains_key(need) {
                // Needed by something later in the list, so it moves behind that.
                order.retain(|other| other != need);
                order.push(need.as_str());
                queue.push(need);
            }
        }
    }
    order
}

/// Names and paths of all modules beneath a folder.
fn collect(folder: &Path, paths: &mut BTreeMap<String, PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, paths)?;
        } else if let Some((name, _)) = entry.file_name().to_string_lossy().split_once(".ko") {
            paths.insert(normal(name), path);
        }
    }
    Ok(())
}

/// A module's name as the kernel writes it.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The given kernel, one that was fetched before, or a fresh one from the distribution.
pub(super) fn get(folder: &Path) -> Result<Kernel, String> {
    if let Some(given) = std::env::var_os("GANTRY_VM_KERNEL") {
        return Kernel::at(PathBuf::from(given));
    }
    if let Some(found) = fetched(folder) {
        return Kernel::at(found);
    }
    let listing = super::output(Command::new("apt-cache").args([
        "depends",
        "--important",
        "linux-image-cloud-amd64",
    ]))?;
    let package = listing
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"));
    let package = package.ok_or("apt knows no linux-image-cloud-amd64; set GANTRY_VM_KERNEL")?;
    println!("fetching {package}");
    super::output(
        Command::new("apt-get")
            .current_dir(folder)
            .args(["download", package]),
    )?;
    let archives = std::fs::read_dir(folder)
        .map_err(|error| error.to_string())?
        .flatten()
        .map(|entry| entry.path());
    let archive = archives
        .into_iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let archive = archive.ok_or("apt-get download left no package")?;
    super::output(
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&archive)
            .arg(folder.join("kernel")),
    )?;
    let _ = std::fs::remove_file(archive);
    Kernel::at(fetched(folder).ok_or_else(|| format!("{package} has no boot/vmlinuz"))?)
}

fn fetched(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder.join("kernel/boot"))
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    files.into_iter().find(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
    })
}
