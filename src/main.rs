//! Parses, builds, runs.
fn main() {}
