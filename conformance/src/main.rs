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

use burn::tensor::Device;
use clap::Parser;
use wise_model::{DeviceName, Model};

use crate::outcome::Outcome;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Holds a device to the CPU: operations, forward passes, generation, a golden edit, router and merge.
#[derive(Debug, Parser)]
#[command(name = "conformance")]
struct Args {
    /// cpu, wgpu or cuda:N
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// Prompts that the router decides on
    #[arg(long, default_value_t = 200, value_name = "N")]
    prompts: usize,
    /// Print the outcomes as JSON
    #[arg(long)]
    json: bool,
}

/// The same model twice.
struct Pair {
    cpu: Arc<Model>,
    device: Arc<Model>,
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
    let (cpu, device) = (DeviceName::Cpu.open()?, args.device.open()?);
    let mut outcomes = timed("operations", || Ok(operations::check(&cpu, &device)))?;
    let pair = timed("loading", || {
        Ok(Pair {
            cpu: open(&cpu)?,
            device: open(&device)?,
        })
    })?;
    outcomes.extend(timed("forward passes", || forward::check(&pair))?);
    outcomes.extend(timed("edits", || editing::check(&pair, args.prompts))?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcomes)?);
    } else {
        println!("{}", outcome::table(&args.device.to_string(), &outcomes));
    }
    Ok(outcomes.iter().all(Outcome::passed))
}

fn open(device: &Device) -> Result<Arc<Model>> {
    Ok(Arc::new(Model::open("smollm2", device, &mut |_| {})?))
}

fn timed<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let outcome = work()?;
    eprintln!("{what}: {:.1} s", start.elapsed().as_secs_f64());
    Ok(outcome)
}
