//! Context templates: what the model itself says, put in front of an edit so that it holds in other contexts
//! (paper, section 2.3.1, after ROME).

use wise_model::{GenerateOptions, Model, Overlay, Prompt};

use crate::Result;

const SEEDS: [&str; 5] = ["I", "You", "Because", "Yes", "Q: "];

/// Lengths of the continuations in tokens.
const LENGTHS: [usize; 2] = [5, 10];

/// Texts to put in front of a prompt: nothing, then for each length a greedy continuation of each seed.
///
/// A text ends with the space that parts it from the prompt. The unedited model makes them, so they are the
/// same for every edit.
///
/// # Errors
/// If the model cannot run the seeds.
pub fn context_templates(model: &Model) -> Result<Vec<String>> {
    let mut templates = vec![String::new()];
    for length in LENGTHS {
        for seed in SEEDS {
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
