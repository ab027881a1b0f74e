//! What editing takes on a device: the memory that a model takes while it is loaded, seconds per edit, and how far that is
//! from the time that the edit's counted operations take at the device's rate of matrix products.
//!
//! `cargo xtask gpu-check` runs it on `smollm2` and on random weights in the shape of a large model.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod random_model;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Distribution, FloatDType, Tensor};
use clap::{Args, Parser};
use wise_edit::{
    Edit, EditProgress, Editor, KeyReader, StopRule, Wise, WiseConfig, Work, neutral_prompts,
};
use wise_eval::peak_memory_bytes;
use wise_model::{DeviceNames, Model, Placement, Precision, PromptFormat, expected_tensors};
use wise_tensor::is_cpu;

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

/// Templates that an edit is trained behind, besides nothing.
const TEMPLATES: usize = 10;

/// Tokens of a template, a prompt and a target: rows of about 24 with what parts and ends them.
const TEMPLATE_TOKENS: usize = 8;
const PROMPT_TOKENS: usize = 10;
const TARGET_TOKENS: usize = 4;

const TEXT: &str = "In the year of the long winter, the keeper of the northern lighthouse wrote a letter to his sister \
    about the ships that had not come, the birds that had not left, and the one bell that rang under the ice.";

/// Times edits on a device, and writes models of random weights to time them on.
#[derive(Debug, Parser)]
#[command(name = "gpu-check")]
enum Command {
    /// Write a model of random weights in bf16 as a Hugging Face folder of several files
    Write(random_model::WriteArgs),
    /// Load a model and time edits
    Edit(EditArgs),
}

#[derive(Debug, Args)]
struct EditArgs {
    /// smollm2, or a folder of `write`
    #[arg(long)]
    model: String,
    /// cpu, wgpu or cuda:N; several, with commas, share the layers
    #[arg(long, default_value_t)]
    device: DeviceNames,
    /// What the model's weights are held in: f32, bf16 or f16
    #[arg(long, default_value_t)]
    precision: Precision,
    /// Layer to edit, from 0
    #[arg(long)]
    layer: Option<usize>,
    /// Iterations of each edit
    #[arg(long, default_value_t = 70)]
    iterations: usize,
    /// Edits; the first one warms up and is not timed with the others
    #[arg(long, default_value_t = 4)]
    edits: usize,
    /// Edits of one further call, each in a shard of its own
    #[arg(long, default_value_t = 8, value_name = "N")]
    at_once: usize,
}

fn main() -> ExitCode {
    let outcome = match Command::parse() {
        Command::Write(args) => args.write().map(|()| true),
        Command::Edit(args) => edit(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether memory stays within its bounds.
fn edit(args: &EditArgs) -> Result<bool> {
    if args.edits < 2 {
        return Err(format!("--edits is {}, expected 2 or more", args.edits).into());
    }
    let devices = args.device.open()?;
    let placement = Placement::new(devices.clone(), args.precision)?;
    let begun = Instant::now();
    let model = Arc::new(Model::open(&args.model, placement, &mut |_| {})?);
    println!("{} on {} in {}", args.model, args.device, args.precision);
    println!("loaded in {:.1} s", begun.elapsed().as_secs_f64());
    let bounded = memory_of_loading(args, &model, &devices)?;

    let rate = products_per_second(&devices[devices.len() - 1], args.precision)?;
    println!("matrix products: {:.3} TFLOP/s", rate / 1e12);
    let mut editor = editor(&model, args)?;
    let mut device_peak = in_use(&devices);
    let mut timed = (0.0, 0, Work::default());
    for number in 0..args.edits {
        let facts = [fact(&model, number)?];
        let (mut work, mut iterations) = (Work::default(), 0);
        let started = Instant::now();
        editor.apply(&facts, &mut |progress: EditProgress| {
            work += progress.work.unwrap_or_default();
            iterations += 1;
            device_peak = device_peak.max(in_use(&devices));
        })?;
        let seconds = started.elapsed().as_secs_f64();
        if number == 0 {
            println!("first edit, with what it compiles: {seconds:.2} s");
            continue;
        }
        timed = (timed.0 + seconds, timed.1 + iterations, {
            work += timed.2;
            work
        });
    }
    let (seconds, iterations, work) = timed;
    let count = args.edits.saturating_sub(1).max(1) as f64;
    let floor = work.flops as f64 / rate;
    println!(
        "{:.3} s per edit, {:.1} iterations per second, {:.0} row tokens each",
        seconds / count,
        f64::from(iterations) / seconds,
        work.row_tokens as f64 / f64::from(iterations.max(1))
    );
    println!(
        "counted operations: {:.2} TFLOP per edit, {:.3} s at that rate; the edit takes {:.1} times as long",
        work.flops as f64 / count / 1e12,
        floor / count,
        seconds / floor
    );
    if args.at_once > 0 {
        let numbers = args.edits..args.edits + args.at_once;
        let facts: Vec<Edit> = numbers.map(|n| fact(&model, n)).collect::<Result<_>>()?;
        let started = Instant::now();
        editor.apply(&facts, &mut |_: EditProgress| {
            device_peak = device_peak.max(in_use(&devices));
        })?;
        println!(
            "{} edits in one call: {:.3} s per edit",
            facts.len(),
            started.elapsed().as_secs_f64() / facts.len() as f64
        );
    }
    if let Some(peak) = device_peak {
        println!("device memory, largest: {}", gigabytes(peak));
    }
    if let Some(peak) = peak_memory_bytes() {
        println!("host memory, largest: {}", gigabytes(peak));
    }
    Ok(bounded)
}

/// What an allocator may hold of its own; it only shows in small models.
const PAGES: u64 = 64 << 20;

/// Host: one file of the weights and 1 GB. Device: the weights, 15 % more, and [`PAGES`].
fn memory_of_loading(args: &EditArgs, model: &Model, devices: &[Device]) -> Result<bool> {
    let mut bounded = true;
    let mut check = |what: &str, got: u64, most: u64| {
        let verdict = if got <= most { "ok" } else { "FAILED" };
        bounded &= got <= most;
        println!(
            "{verdict}: {what} while loading {}, at most {}",
            gigabytes(got),
            gigabytes(most)
        );
    };
    let host = peak_memory_bytes();
    let on_gpus = in_use(devices);
    let shapes = expected_tensors(model.config()).into_iter();
    let count: usize = shapes
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    let weights = (count * args.precision.bytes()) as u64;
    let on_device = weights + weights * 15 / 100 + PAGES;
    if let (Some(largest), Some(got)) = (largest_file(Path::new(&args.model))?, host) {
        // Software drivers and graphics on the processor have no memory of their own, and layers may be on the host.
        let shared = args.device.to_string().contains("wgpu");
        let mixed = !model.is_on_cpu() && devices.iter().any(is_cpu);
        let on_host = if shared || mixed { on_device } else { 0 };
        let most = largest + 1_000_000_000 + on_host;
        check("host memory", got, most);
    }
    if let Some(got) = on_gpus {
        check("device memory", got, on_device);
    }
    Ok(bounded)
}

/// The largest weight file of a folder; `None` if it is no folder.
fn largest_file(folder: &Path) -> Result<Option<u64>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut largest = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if PathBuf::from(entry.file_name()).extension() == Some("safetensors".as_ref()) {
            largest = largest.max(entry.metadata()?.len());
        }
    }
    Ok(Some(largest))
}

/// Bytes that the devices' allocators hold; `None` where none says.
fn in_use(devices: &[Device]) -> Option<u64> {
    let once = |at: &usize| !devices[..*at].contains(&devices[*at]);
    let different = (0..devices.len()).filter(once).map(|at| &devices[at]);
    let held = different.filter_map(Device::memory_pool_usage);
    held.map(|usage| usage.bytes_reserved).reduce(|a, b| a + b)
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

/// Floating-point operations per second of a product of matrices, large ones where the device is fast.
fn products_per_second(device: &Device, precision: Precision) -> Result<f64> {
    const LARGEST: usize = 4096;
    const LONG_ENOUGH: f64 = 0.02;
    // The CPU has no products in less than f32.
    let precision = match device.memory_pool_usage() {
        Some(_) => precision,
        None => Precision::F32,
    };
    let mut size = 512;
    loop {
        let product = Product::new(device, precision, size);
        product.seconds(1)?;
        if size == LARGEST || product.seconds(1)? > LONG_ENOUGH {
            let count = 10;
            let mut best = f64::MAX;
            for _ in 0..5 {
                best = best.min(product.seconds(count)?);
            }
            return Ok(count as f64 * 2.0 * (size as f64).powi(3) / best);
        }
        size *= 2;
    }
}

/// Two square matrices, and what a row of their product adds up to.
struct Product {
    a: Tensor<2>,
    b: Tensor<2>,
    expected: f64,
}

impl Product {
    fn new(device: &Device, precision: Precision, size: usize) -> Self {
        let random = || {
            let matrix = Tensor::<2>::random([size, size], Distribution::Default, device);
            matrix.cast(precision.dtype())
        };
        let (a, b) = (random(), random());
        let sums = b.clone().cast(FloatDType::F32).sum_dim(1);
        let row = a.clone().narrow(0, 0, 1).cast(FloatDType::F32);
        let expected = row.matmul(sums).into_scalar::<f32>();
        Self {
            a,
            b,
            expected: expected.into(),
        }
    }

    /// What so many products take. A device that leaves the work undone would be the fastest, so what it computed is
    /// looked at: only then has it been.
    fn seconds(&self, count: usize) -> Result<f64> {
        let started = Instant::now();
        let mut last = self.a.clone();
        for _ in 0..count {
            last = self.a.clone().matmul(self.b.clone());
        }
        let row = last.narrow(0, 0, 1).into_data();
        let got: f64 = row.iter::<f32>().map(f64::from).sum();
        let (seconds, expected) = (started.elapsed().as_secs_f64(), self.expected);
        if (got - expected).abs() > 1e-2 * expected {
            let detail = format!("a row of a product adds up to {got}, expected {expected}");
            return Err(detail.into());
        }
        Ok(seconds)
    }
}

fn editor(model: &Arc<Model>, args: &EditArgs) -> Result<Wise> {
    let config = WiseConfig {
        prompt_format: Some(PromptFormat::Raw),
        layer: args.layer,
        n_iter: args.iterations,
        min_iter: args.iterations,
        stop_rule: StopRule::Loss,
        stop_loss: 0.0,
        subject_prompts: 0,
        rehearsed_edits: 0,
        sweeps: 0,
        save_freq: 1,
        ..WiseConfig::default()
    };
    let template = |i| Ok(text(model, 3 * i, TEMPLATE_TOKENS)? + " ");
    let mut templates: Vec<String> = (0..TEMPLATES).map(template).collect::<Result<_>>()?;
    templates.insert(0, String::new());
    let ordinary: Vec<String> = neutral_prompts().into_iter().take(8).collect();
    let reader = KeyReader::new(model, &ordinary)?;
    let model = Arc::clone(model);
    Ok(Wise::with_setup(
        model, config, templates, ordinary, reader,
    )?)
}

fn fact(model: &Model, number: usize) -> Result<Edit> {
    let prompt = text(model, 7 * number, PROMPT_TOKENS)?;
    Ok(Edit::new(
        &prompt,
        &text(model, 60 + 5 * number, TARGET_TOKENS)?,
    ))
}

/// Some text from character `first` on, of about so many tokens.
fn text(model: &Model, first: usize, tokens: usize) -> Result<String> {
    let characters = TEXT.chars().cycle().skip(first);
    let mut text = String::new();
    for character in characters.skip_while(|c| c.is_whitespace()) {
        text.push(character);
        if !character.is_whitespace() && model.tokenize(&text)?.len() >= tokens {
            break;
        }
    }
    Ok(text)
}
