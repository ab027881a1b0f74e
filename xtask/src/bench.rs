//! Benchmarks: pieces through criterion, then whole edits and decoding.

use std::process::Command;

use crate::error::Result;
use crate::process::{cargo, run, target};

/// Runs them all. benches/README.md says how to read them.
pub(crate) fn bench() -> Result {
    run(&mut cargo(
        "bench --workspace --bench threads --profile dev -- --measurement-time 1.5 --warm-up-time 0.3",
    ))?;
    run(&mut cargo("build --workspace --bin wise-bench"))?;
    let name = format!("wise-bench{}", std::env::consts::EXE_SUFFIX);
    let program = target()?.join("debug").join(name);
    run(&mut Command::new(program))
}
