//! Context templates: what the model itself says, put in front of an edit so that it holds in other contexts
//! (paper, section 2.3.1, after ROME).

use wise_model::{Beginnings, EditSite, GenerateOptions, Model, Overlay, Prompt};

use crate::Result;
use crate::wise::WiseConfig;

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
    let all = SEEDS.len() * LENGTHS.len();
    let count = count.min(all);
    let mut asked = Vec::new();
    for picked in (0..count).map(|i| i * all / count) {
        let tokens = model.tokenize(SEEDS[picked % SEEDS.len()])?;
        let prompt = Prompt {
            scope: 0..tokens.len(),
            tokens,
        };
        let options = GenerateOptions {
            max_new_tokens: LENGTHS[picked / SEEDS.len()],
            ..GenerateOptions::default()
        };
        asked.push((prompt, options));
    }
    let prompts: Vec<_> = asked.iter().map(|(p, options)| (p, options)).collect();
    let mut main = |site: &EditSite| vec![Overlay::Main; site.layout.rows().len()];
    let continued = model.generate_together(&prompts, 0, &mut main)?;
    let mut templates = vec![String::new()];
    for ((prompt, _), continued) in asked.iter().zip(continued) {
        let all = [prompt.tokens.clone(), continued.tokens].concat();
        templates.push(model.detokenize(&all)? + " ");
    }
    Ok(templates)
}

/// What every edit's sequences begin with: what stands before a prompt behind each of the templates.
///
/// # Errors
/// If the model cannot run it.
pub(crate) fn beginnings(
    model: &Model,
    config: &WiseConfig,
    templates: &[String],
) -> Result<Beginnings> {
    let before = |template: &String| {
        let prompt = model.prompt(config.format_for(model), template, "?")?;
        Ok(prompt.tokens[..prompt.scope.start].to_vec())
    };
    let tokens = templates.iter().map(before).collect::<Result<_>>()?;
    Ok(model.beginnings(tokens, config.layer_for(model))?)
}
