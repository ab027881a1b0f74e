//! Whole edits and decoding on the real model: wall time, peak memory, counted floating-point operations and what
//! share of the machine's own rate of matrix products they reach. `cargo xtask bench` runs it.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::tensor::{Device, Distribution, Tensor};
use wise_edit::{
    Batch, Compatibility, Edit, EditProgress, Editor, Snapshot, StopRule, Wise, WiseConfig, Work,
    neutral_prompts,
};
use wise_model::{GenerateOptions, Model, PromptFormat};
use wise_tensor::DeviceName;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Facts of general knowledge, in the form that `wise edit` takes.
const FACTS: &str = include_str!("../../data/facts.jsonl");

const DECODED: &str = "Once upon a time, in a village by the sea, there lived";
const TOKENS: usize = 128;
const ANSWER: usize = 32;
const ROUNDS: usize = 15;

fn main() -> Result {
    let started = Instant::now();
    let device = DeviceName::Cpu.open()?;
    let model = Arc::new(Model::open("smollm2", &device, &mut |_| {})?);
    let unedited = Snapshot::unedited(Arc::clone(&model), PromptFormat::Raw);
    unedited.ask(DECODED, &tokens(1))?;
    let first_token = started.elapsed().as_secs_f64();
    let threads = rayon::current_num_threads();
    let peak = peak_flops(&device);
    println!(
        "{threads} threads, matrix products of 1024 x 1024 x 1024: {:.0} GFLOP/s\n",
        peak / 1e9
    );
    println!("First token of an answer {first_token:.2} s after start.\n");

    println!(
        "| edits | count | s per edit | iterations | ms per iteration | us per iteration and row token | GFLOP/s | of the peak | peak anonymous memory |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let facts = facts()?;
    let reference = WiseConfig {
        layer: Some(26),
        stop_loss: 0.0,
        ..WiseConfig::of(Compatibility::EasyEdit)
    };
    edits(
        "the reference's rule, 70 iterations at layer 26",
        &model,
        reference,
        &facts[..2],
        peak,
    )?;
    let plain = WiseConfig {
        optimizer: wise_edit::Optimizer::Sgd,
        edit_lr: 1.0,
        n_iter: 70,
        stop_rule: StopRule::Standstill,
        stop_loss: 0.02,
        sweeps: 0,
        router_gradient: None,
        ..defaults()
    };
    edits(
        "the defaults with the plain rule",
        &model,
        plain,
        &facts[..4],
        peak,
    )?;
    let one_memory = edits("the defaults, one shard", &model, defaults(), &facts, peak)?;
    let alone = WiseConfig {
        save_freq: 1,
        ..defaults()
    };
    let many_memories = edits("the defaults, a shard each", &model, alone, &facts, peak)?;

    println!("\n| questions, answered greedily | one by one | side by side | |");
    println!("| --- | --- | --- | --- |");
    for (name, snapshot) in [
        ("unedited", &unedited),
        ("1 memory", &one_memory),
        ("20 memories", &many_memories),
    ] {
        questions(name, snapshot, &facts)?;
    }

    println!("\n| decoding {TOKENS} tokens | tokens per second | of the unedited model |");
    println!("| --- | --- | --- |");
    decoding(&[
        ("unedited", unedited),
        ("1 memory", one_memory),
        ("20 memories", many_memories),
    ])
}

fn defaults() -> WiseConfig {
    WiseConfig {
        prompt_format: Some(PromptFormat::Raw),
        ..WiseConfig::default()
    }
}

fn facts() -> Result<Vec<Edit>> {
    let lines = FACTS.lines().map(serde_json::from_str);
    Ok(lines.collect::<std::result::Result<_, _>>()?)
}

fn tokens(count: usize) -> GenerateOptions {
    GenerateOptions {
        max_new_tokens: count,
        ..GenerateOptions::default()
    }
}

/// The best rate of large matrix products on all threads, in floating-point operations per second.
fn peak_flops(device: &Device) -> f64 {
    const SIZE: usize = 1024;
    let random = || Tensor::<2>::random([SIZE, SIZE], Distribution::Default, device);
    let (a, b) = (random(), random());
    let best = (0..30).map(|_| {
        let started = Instant::now();
        black_box(a.clone().matmul(b.clone()));
        started.elapsed()
    });
    let best = best.min().unwrap_or(Duration::MAX);
    2.0 * (SIZE as f64).powi(3) / best.as_secs_f64()
}

/// Makes the edits and prints what they took.
fn edits(
    name: &str,
    model: &Arc<Model>,
    config: WiseConfig,
    edits: &[Edit],
    peak: f64,
) -> Result<Snapshot> {
    let mut editor = Wise::new(Arc::clone(model), config, neutral_prompts())?;
    let (mut work, mut memory) = (Work::default(), 0);
    let started = Instant::now();
    let applied = editor.apply(edits, &mut |progress: EditProgress| {
        work += progress.work.unwrap_or_default();
        memory = memory.max(anonymous_bytes().unwrap_or(0));
    })?;
    let seconds = started.elapsed().as_secs_f64();
    let count = edits.len() as f64;
    let iterations: usize = applied.iter().map(|edit| edit.iterations).sum();
    let rate = work.flops as f64 / seconds;
    println!(
        "| {name} | {count} | {:.2} | {:.1} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} GB |",
        seconds / count,
        iterations as f64 / count,
        1e3 * seconds / iterations as f64,
        1e6 * seconds / work.row_tokens as f64,
        rate / 1e9,
        rate / peak,
        memory as f64 / 1e9,
    );
    Ok(editor.snapshot()?)
}

/// Anonymous memory of this process, where the system tells it.
fn anonymous_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Asks for the edits' prompts alone and together.
fn questions(name: &str, snapshot: &Snapshot, edits: &[Edit]) -> Result {
    let options = tokens(ANSWER);
    let started = Instant::now();
    for edit in edits {
        black_box(snapshot.ask(&edit.prompt, &options)?);
    }
    let alone = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let batch = Batch {
        questions: edits.iter().map(|edit| edit.prompt.as_str()).collect(),
        options,
    };
    black_box(snapshot.ask_batches(&[batch])?);
    let together = started.elapsed().as_secs_f64();
    let (count, ratio) = (edits.len(), alone / together);
    println!("| {name}, {count} questions | {alone:.1} s | {together:.1} s | {ratio:.1} times |");
    Ok(())
}

/// Decodes the same text with each, in turn, so that noise meets all of them.
fn decoding(models: &[(&str, Snapshot)]) -> Result {
    let mut rates = vec![Vec::new(); models.len()];
    for _ in 0..ROUNDS {
        for ((name, snapshot), rates) in models.iter().zip(&mut rates) {
            let started = Instant::now();
            let answer = snapshot.ask(DECODED, &tokens(TOKENS))?;
            let count = answer.generation.tokens.len();
            if count < TOKENS {
                return Err(format!("{name}: {count} tokens, expected {TOKENS}").into());
            }
            rates.push(count as f64 / started.elapsed().as_secs_f64());
        }
    }
    for ((name, _), of_model) in models.iter().zip(&rates) {
        let pairs = of_model.iter().zip(&rates[0]);
        let ratios = pairs.map(|(rate, unedited)| rate / unedited).collect();
        println!(
            "| {name} | {:.1} | {:.3} |",
            median(of_model.clone()),
            median(ratios)
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
