//! Prefix, suffix, batches and generation.

use burn::tensor::Tensor;
use wise_model::{GenerateOptions, Model, Overlay, PromptFormat, Row};

use crate::outcome::{Outcome, differing, relative};
use crate::{Pair, Result};

const PROMPTS: [&str; 4] = [
    "The capital of France is",
    "What university did Watts Humphrey attend?",
    "In 1969, the first person to walk on the Moon was",
    "def fibonacci(n):\n    if n < 2:\n        return",
];

/// Of logits, as a share of the largest.
const TOLERANCE: f64 = 1e-3;

fn rows(model: &Model) -> Result<Vec<Row>> {
    let row = |text: &&str| {
        let prompt = model.prompt(PromptFormat::Raw, "", text)?;
        Ok(Row::from(prompt.tokens))
    };
    PROMPTS.iter().map(row).collect()
}

/// Logits after the last token of each row, the rows run together.
fn last_logits(model: &Model, rows: &[Row], layer: usize) -> Result<Vec<f32>> {
    let ends = rows.iter().scan(0, |end, row| {
        *end += row.tokens.len();
        Some(*end - 1)
    });
    let at: Vec<usize> = ends.collect();
    let logits: Tensor<2> = model.logits(rows, layer, &Overlay::Main, &at)?;
    Ok(logits.into_data().iter::<f32>().collect())
}

fn continuations(model: &Model) -> Result<Vec<Vec<u32>>> {
    let options = GenerateOptions {
        max_new_tokens: 16,
        ..GenerateOptions::default()
    };
    let continuation = |text: &&str| {
        let prompt = model.prompt(PromptFormat::Chat, "", text)?;
        let answer = model.generate(&prompt, 0, &options, &mut |_| Overlay::Main)?;
        Ok(answer.tokens)
    };
    PROMPTS.iter().map(continuation).collect()
}

pub fn check(Pair { cpu, device }: &Pair) -> Result<Vec<Outcome>> {
    let rows = rows(cpu)?;
    let together = last_logits(device, &rows, 23)?;
    let expected = last_logits(cpu, &rows, 23)?;
    let elsewhere = last_logits(device, &rows, 4)?;
    let alone = rows
        .iter()
        .map(|row| last_logits(device, std::slice::from_ref(row), 23));
    let alone = alone.collect::<Result<Vec<_>>>()?.concat();
    let generated: Vec<_> = continuations(device)?
        .into_iter()
        .zip(continuations(cpu)?)
        .collect();
    Ok(vec![
        relative("logits", &together, &expected, TOLERANCE),
        relative(
            "logits, split at another layer",
            &elsewhere,
            &together,
            1e-5,
        ),
        relative("a batch and its rows alone", &alone, &together, 1e-4),
        differing("greedy answers of 16 tokens", "of 4 differ", &generated),
    ])
}
