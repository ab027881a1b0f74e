//! Corrects one fact.
fn main() {}
