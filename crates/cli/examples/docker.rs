//! The command line alone, called `docker`: what the tests of this crate run. The product is `gantry`, in its own crate.

fn main() {
    std::process::exit(gantry_cli::main(std::env::args_os(), None));
}
