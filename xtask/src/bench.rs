//! Benchmarks: pieces through criterion, then whole edits and decoding.

use std::process::Command;

use crate::error::Result;
use crate::process::{built, cargo, run};

/// Runs them all. benches/README.md says how to read them.
pub(crate) fn bench() -> Result {
    run(&mut cargo(
        "bench --workspace --bench threads --profile dev -- --measurement-time 1.5 --warm-up-time 0.3",
    ))?;
    run(&mut cargo("build --workspace --bin wise-bench"))?;
    run(&mut Command::new(built("wise-bench")?))
}
