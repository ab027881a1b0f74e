//! Context templates: what the model itself says, put in front of an edit so that it holds in other contexts
//! (paper, section 2.3.1, after ROME).

use wise_model::{GenerateOptions, Model, Overlay, Prompt};

use crate::Result;

const SEEDS: [&str; 5] = ["I", "You", "Because", "Yes", "Q: "];

/// Lengths of the continuations in tokens.
const LENGTHS: [usize; 2] = [5, 10];

/// Texts to put in front of a prompt: nothing, then `count` (at most ten) of the greedy continuations of each
/// seed to each length, evenly picked.
///
/// A text ends with the space that parts it from the prompt. The unedited model makes them, so they are the
/// same for every edit.
///
/// # Errors
/// If the model cannot run the seeds.
pub fn context_templates(model: &Model, count: usize) -> Result<Vec<String>> {
    let mut templates = vec![String::new()];
    let all = SEEDS.len() * LENGTHS.len();
    let picked: Vec<usize> = (0..count.min(all))
        .map(|i| i * all / count.min(all))
        .collect();
    for (i, length) in LENGTHS.into_iter().enumerate() {
        for (j, seed) in SEEDS.into_iter().enumerate() {
            if !picked.contains(&(i * SEEDS.len() + j)) {
                continue;
            }
            let tokens = model.tokenize(seed)?;
            let prompt = Prompt {
                scope: 0..tokens.len(),
                tokens,
            };
            let options = GenerateOptions {
                max_new_tokens: length,
                ..GenerateOptions::default()
            };
            let continued = model.generate(&prompt, 0, &options, &mut |_| Overlay::Main)?;
            let all = [prompt.tokens, continued.tokens].concat();
            templates.push(model.detokenize(&all)? + " ");
        }
    }
    Ok(templates)
}
