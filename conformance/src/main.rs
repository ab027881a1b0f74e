//! One suite that every device has to pass: what the device computes, beside what the CPU does.
//!
//! `cargo xtask conformance --device wgpu` builds and runs it. It needs the model `smollm2`, which it downloads once.
//! The CPU in f32 is the reference; the crates' own tests hold the CPU to figures of the reference implementation.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod editing;
mod forward;
mod operations;
mod outcome;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use wise_model::{DeviceName, DeviceNames, Model, Placement, Precision};

use crate::outcome::Outcome;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Holds a device to the CPU: operations, forward passes, generation, a golden edit, router and merge.
#[derive(Debug, Parser)]
#[command(name = "conformance")]
struct Args {
    /// cpu, wgpu or cuda:N; several, with commas, share the layers
    #[arg(long, default_value_t)]
    device: DeviceNames,
    /// What the device holds the model's weights in: f32, bf16 or f16
    #[arg(long, default_value_t, value_name = "FORMAT")]
    precision: Precision,
    /// Prompts that the router decides on (default: 200, with --quick 8)
    #[arg(long, value_name = "N")]
    prompts: Option<usize>,
    /// All checks on fewer texts, tokens and iterations: for a driver that computes on the processor
    #[arg(long)]
    quick: bool,
    /// Print the outcomes as JSON
    #[arg(long)]
    json: bool,
}

/// How much is compared.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Texts whose likeliest next tokens are compared.
    texts: usize,
    /// Of each greedy answer.
    answer_tokens: usize,
    /// Of the golden edit.
    iterations: usize,
    /// Of two edits that are learnt at once.
    iterations_at_once: usize,
    /// Prompts that the router decides on.
    prompts: usize,
}

const FULL: Extent = Extent {
    texts: 40,
    answer_tokens: 16,
    iterations: 10,
    iterations_at_once: 3,
    prompts: 200,
};

const QUICK: Extent = Extent {
    texts: 4,
    answer_tokens: 2,
    iterations: 3,
    iterations_at_once: 1,
    prompts: 8,
};

/// The same model twice, on the CPU in f32.
struct Pair {
    cpu: Arc<Model>,
    device: Arc<Model>,
    /// Of the device.
    precision: Precision,
}

/// What a device may be off by in f32, bf16 and f16.
type Tolerance = [f64; 3];

fn within(tolerance: Tolerance, precision: Precision) -> f64 {
    let [f32, bf16, f16] = tolerance;
    match precision {
        Precision::F32 => f32,
        Precision::Bf16 => bf16,
        Precision::F16 => f16,
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether the device passed.
fn run(args: &Args) -> Result<bool> {
    let (cpu, devices) = (DeviceName::Cpu.open()?, args.device.open()?);
    let last = devices[devices.len() - 1].clone();
    let placement = Placement::new(devices, args.precision)?;
    let mut outcomes = timed("operations", || {
        Ok(operations::check(&cpu, &last, args.precision))
    })?;
    let pair = timed("loading", || {
        Ok(Pair {
            cpu: open((&cpu).into())?,
            device: open(placement)?,
            precision: args.precision,
        })
    })?;
    let mut extent = if args.quick { QUICK } else { FULL };
    extent.prompts = args.prompts.unwrap_or(extent.prompts);
    outcomes.extend(timed("forward passes", || forward::check(&pair, extent))?);
    outcomes.extend(timed("edits", || editing::check(&pair, extent))?);
    let name = format!("{} in {}", args.device, args.precision);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    } else {
        println!("{}", outcome::table(&name, &outcomes));
    }
    Ok(outcomes.iter().all(Outcome::passed))
}

fn open(placement: Placement) -> Result<Arc<Model>> {
    Ok(Arc::new(Model::open("smollm2", placement, &mut |_| {})?))
}

fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let outcome = work()?;
    eprintln!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(outcome)
}
