//! Prefix, suffix, batches and generation.

use burn::tensor::Tensor;
use wise_edit::neutral_prompts;
use wise_model::{GenerateOptions, Model, Overlay, PromptFormat, Row};

use crate::outcome::{Outcome, differing, relative};
use crate::{Extent, Pair, Result, Tolerance, within};

const PROMPTS: [&str; 4] = [
    "The capital of France is",
    "What university did Watts Humphrey attend?",
    "In 1969, the first person to walk on the Moon was",
    "def fibonacci(n):\n    if n < 2:\n        return",
];

/// Of logits, as a share of the largest.
const LOGITS: Tolerance = [1e-3, 3e-2, 5e-3];

/// Of logits that are the same products, in another order or number.
const SPLIT: Tolerance = [1e-5, 3e-2, 5e-3];
const BATCH: Tolerance = [1e-4, 3e-2, 5e-3];

/// Of 4 answers.
const ANSWERS: Tolerance = [0.0, 2.0, 1.0];

/// Of all tokens.
const TOKENS: Tolerance = [2e-3, 3e-2, 1e-2];

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

fn continuations(model: &Model, tokens: usize) -> Result<Vec<Vec<u32>>> {
    let options = GenerateOptions {
        max_new_tokens: tokens,
        ..GenerateOptions::default()
    };
    let continuation = |text: &&str| {
        let prompt = model.prompt(PromptFormat::Chat, "", text)?;
        let answer = model.generate(&prompt, 0, &options, &mut |_| Overlay::Main)?;
        Ok(answer.tokens)
    };
    PROMPTS.iter().map(continuation).collect()
}

/// The likeliest token after each of some texts' tokens.
fn likeliest(model: &Model, texts: usize) -> Result<Vec<u32>> {
    let texts = neutral_prompts().into_iter().take(texts);
    let row = |text: String| {
        let prompt = model.prompt(PromptFormat::Raw, "", &text)?;
        Ok(Row::from(prompt.tokens))
    };
    let rows: Vec<Row> = texts.map(row).collect::<Result<_>>()?;
    let site = model.prefix(&rows, 23, None)?;
    let output = model.site_output(&site, &Overlay::Main);
    let at: Vec<usize> = (0..site.layout.tokens()).collect();
    let labels = vec![0; at.len()];
    let predictions = model.predictions(&site, output, &Overlay::Main, &at, &labels);
    Ok(predictions.into_iter().map(|(token, _)| token).collect())
}

pub fn check(pair: &Pair, extent: Extent) -> Result<Vec<Outcome>> {
    let Pair {
        cpu,
        device,
        precision,
    } = pair;
    let tolerance = |of: Tolerance| within(of, *precision);
    let rows = rows(cpu)?;
    let together = last_logits(device, &rows, 23)?;
    let expected = last_logits(cpu, &rows, 23)?;
    let elsewhere = last_logits(device, &rows, 4)?;
    let alone = rows
        .iter()
        .map(|row| last_logits(device, std::slice::from_ref(row), 23));
    let alone = alone.collect::<Result<Vec<_>>>()?.concat();
    let generated: Vec<_> = continuations(device, extent.answer_tokens)?
        .into_iter()
        .zip(continuations(cpu, extent.answer_tokens)?)
        .collect();
    let tokens: Vec<_> = likeliest(device, extent.texts)?
        .into_iter()
        .zip(likeliest(cpu, extent.texts)?)
        .collect();
    let most = (tolerance(TOKENS) * tokens.len() as f64).round();
    Ok(vec![
        relative("logits", &together, &expected, tolerance(LOGITS)),
        relative(
            "logits, split at another layer",
            &elsewhere,
            &together,
            tolerance(SPLIT),
        ),
        relative(
            "a batch and its rows alone",
            &alone,
            &together,
            tolerance(BATCH),
        ),
        differing("likeliest next tokens", "differ", &tokens, most),
        differing(
            "greedy answers",
            "of 4 differ",
            &generated,
            tolerance(ANSWERS),
        ),
    ])
}
