//! stub
mod log;
fn main() {}
