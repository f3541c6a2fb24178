//! Containers on a real kernel. Each case runs in a process and a mount namespace of its own, so a case may clone freely.
//!
//! The containers' file system holds just this program, which is static: called as `probe` it tells what it sees.
//! Needs root; says so and passes where it is not.

mod cgroup;
mod compare;
mod container;
mod hostile;
mod machine;
mod namespaces;
mod probe;
mod world;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments
        .first()
        .is_some_and(|name| name.ends_with("/probe") || name == "probe")
    {
        std::process::exit(probe::main(&arguments[1..]));
    }
    let cases = [
        container::ALL,
        namespaces::ALL,
        hostile::ALL,
        compare::ALL,
        cgroup::ALL,
    ]
    .concat();
    match arguments.get(1).map(String::as_str) {
        Some("--machine") => machine::main(&arguments[2], &arguments[3..]),
        Some("--swap") => probe::swap(arguments[2].as_ref(), arguments[3].as_ref()),
        Some("--case") => world::run_case(&arguments[2], &cases),
        _ => world::run_all(&arguments[1..], &cases),
    }
}
