//! The cases.

use crate::world::{Case, World};

pub(crate) const ALL: &[Case] = &[("runs_a_program", runs_a_program)];

fn runs_a_program(world: &World) {
    let (text, code) = world
        .probe(&["fds+cwd+env+ls+mounts+status", "/dev"], |_| {})
        .expect("runs");
    println!("{text}");
    assert_eq!(code, 0);
}
