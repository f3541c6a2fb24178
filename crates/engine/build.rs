//! Compiles `hello/main.rs`, the program of the built-in image, to `$OUT_DIR/hello`: static, small, for the same target.
//! The engine embeds it with `include_bytes!`. Plain `rustc`: the program has no dependencies and is no crate of the workspace.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// The image is inside the daemon's executable, so its size is paid by everybody.
/// An empty static program has 1.08 MB with std and glibc; compressed, the whole has 0.55 MB.
const SIZE_MAX_BYTES: u64 = 1_300_000;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=hello/main.rs");
    let variable = |name: &str| {
        env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
    };
    let output = Path::new(&variable("OUT_DIR")).join("hello");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args([
        "--edition=2024",
        "--crate-name=hello",
        "--crate-type=bin",
        "hello/main.rs",
    ]);
    rustc
        .args(["--target", &variable("TARGET")])
        .arg("-o")
        .arg(&output);
    for option in [
        "target-feature=+crt-static",
        "relocation-model=static",
        "opt-level=s",
        "panic=abort",
        "strip=symbols",
        "lto=fat",
        "codegen-units=1",
        "link-arg=-Wl,--gc-sections",
    ] {
        rustc.args(["-C", option]);
    }
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    let status = rustc
        .status()
        .unwrap_or_else(|error| panic!("cannot start rustc: {error}"));
    assert!(
        status.success(),
        "rustc could not compile hello/main.rs: {status}"
    );
    let size = fs::metadata(&output).map_or(0, |m| m.len());
    assert!(
        size <= SIZE_MAX_BYTES,
        "the built-in image's program has {size} bytes, more than {SIZE_MAX_BYTES}"
    );
}
