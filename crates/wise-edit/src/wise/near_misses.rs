//! Near misses: prompts like an edit's about other subjects, of which the edit says nothing.

use wise_model::{Model, Prompt};

use crate::wise::at_site::PromptAtSite;
use crate::wise::draw::Draw;
use crate::wise::subject::{SUBJECTS, name};
use crate::wise::{RouteBy, WiseConfig};
use crate::{Edit, Result};

/// Most tokens of an edit's near misses together: a long prompt has few or none.
const TOKENS: usize = 400;

/// The near misses of an edit at the edit site; none where no subject is found in it, or where keys decide on routes.
/// The seed and the edit's id fix which.
///
/// # Errors
/// If the model cannot run them.
pub(crate) fn near_misses(
    model: &Model,
    config: &WiseConfig,
    edit: &Edit,
    id: usize,
) -> Result<Vec<PromptAtSite>> {
    if config.route_by == RouteBy::Keys {
        return Ok(Vec::new());
    }
    let prompts = draw(model, config, about_other_subjects(edit), id);
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    Ok(PromptAtSite::run(model, config, &prompts)?)
}

/// The edit's prompt about each of the subjects that are shipped, but its own.
fn about_other_subjects(edit: &Edit) -> Vec<String> {
    let Some(place) = name(edit) else {
        return Vec::new();
    };
    let own = &edit.prompt[place.clone()];
    let other = |other| {
        let mut text = edit.prompt.clone();
        text.replace_range(place.clone(), other);
        text
    };
    let others = SUBJECTS.lines().filter(|other| *other != own);
    others.map(other).collect()
}

/// As many of the texts as the configuration asks for, as prompts.
fn draw(model: &Model, config: &WiseConfig, mut texts: Vec<String>, id: usize) -> Vec<Prompt> {
    let mut draw = Draw::new(config.seed, id, 1);
    let mut prompts: Vec<Prompt> = Vec::new();
    let mut tokens = 0;
    while prompts.len() < config.near_misses && !texts.is_empty() {
        let text = texts.swap_remove(draw.below(texts.len()));
        // One that is too long for the model is too long here as well.
        let Ok(prompt) = PromptAtSite::prompt(model, config, &text) else {
            break;
        };
        tokens += prompt.tokens.len();
        if tokens > TOKENS {
            break;
        }
        prompts.push(prompt);
    }
    prompts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_model;

    #[test]
    fn near_misses_are_as_many_as_asked_for_and_the_same_each_time() {
        let (model, config) = (tiny_model(1), WiseConfig::default());
        let asked = |prompt: &str, near_misses| {
            let config = WiseConfig {
                route_by: RouteBy::Activation,
                near_misses,
                layer: Some(1),
                ..config.clone()
            };
            let made = super::near_misses(&model, &config, &Edit::new(prompt, "x"), 3).unwrap();
            made.iter()
                .map(PromptAtSite::main_output)
                .collect::<Vec<_>>()
        };
        let some = asked("Who is Ann?", 4);
        assert_eq!(some.len(), 4);
        assert_eq!(asked("Who is Ann?", 4), some);
        assert!(some[0] != some[1]);
        assert!(asked("Who is it?", 4).is_empty());
        assert!(asked(&format!("{}Who is Ann?", "so ".repeat(60)), 4).is_empty());
    }
}
