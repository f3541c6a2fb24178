//! `gantry-shim`: supervises one container for the daemon, and is an OCI runtime on the command line.
//!
//! `gantry-shim zygote` is the process from which the daemon's shims are forked (see [`zygote`] and [`supervisor`]);
//! every other command line is that of an OCI runtime.

mod control;
mod log;
mod oci_cli;
mod record;
mod stream;
mod supervisor;
mod zygote;

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == "zygote")
    {
        return zygote::main();
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let code = oci_cli::main(&arguments);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
