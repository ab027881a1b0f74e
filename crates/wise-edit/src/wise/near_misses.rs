//! Near misses: prompts like an edit's about other subjects, of which the edit says nothing.

use std::ops::Range;

use wise_model::{Model, Prompt};

use crate::wise::WiseConfig;
use crate::wise::at_site::PromptAtSite;
use crate::wise::draw::Draw;
use crate::{Edit, Result};

/// Subjects of all kinds, a line each; none of them is edited in a benchmark's test records.
const SUBJECTS: &str = include_str!("../../data/subjects.txt");

/// Most tokens of an edit's near misses together: a long prompt has few or none.
const TOKENS: usize = 400;

/// What may open a sentence in upper case without being a name.
const OPENERS: [&str; 40] = [
    "a", "an", "and", "are", "as", "at", "by", "can", "complete", "did", "do", "does", "for",
    "from", "give", "has", "how", "if", "in", "is", "my", "name", "of", "on", "our", "please",
    "tell", "the", "to", "was", "were", "what", "when", "where", "which", "who", "whom", "whose",
    "why", "with",
];

/// Words inside a name that are written in lower case.
const JOINERS: [&str; 10] = [
    "of", "the", "and", "de", "la", "van", "von", "der", "for", "in",
];

/// The edit's prompt about other subjects, at the edit site; none where no subject is found in it. The seed and the
/// edit's id fix which.
///
/// # Errors
/// If the model cannot run them.
pub(crate) fn near_misses(
    model: &Model,
    config: &WiseConfig,
    edit: &Edit,
    id: usize,
) -> Result<Vec<PromptAtSite>> {
    let Some(subject) = subject(edit) else {
        return Ok(Vec::new());
    };
    let mut draw = Draw::new(config.seed, id, 1);
    let own = &edit.prompt[subject.clone()];
    let mut others: Vec<&str> = SUBJECTS.lines().filter(|other| *other != own).collect();
    let mut prompts: Vec<Prompt> = Vec::new();
    let mut tokens = 0;
    while prompts.len() < config.near_misses && !others.is_empty() {
        let other = others.swap_remove(draw.below(others.len()));
        let mut text = edit.prompt.clone();
        text.replace_range(subject.clone(), other);
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
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    Ok(PromptAtSite::run(model, config, &prompts)?)
}

/// Where an edit's prompt names its subject: as the edit says, else the longest name in it.
fn subject(edit: &Edit) -> Option<Range<usize>> {
    let named = edit
        .subject
        .as_deref()
        .map(str::trim)
        .filter(|s| !s.is_empty());
    let place = |subject: &str| {
        let start = edit.prompt.to_lowercase().find(&subject.to_lowercase())?;
        let place = start..start + subject.len();
        // In a few scripts the lower case is longer, and this is another place.
        let found = edit.prompt.get(place.clone())?;
        (found.to_lowercase() == subject.to_lowercase()).then_some(place)
    };
    named.and_then(place).or_else(|| longest_name(&edit.prompt))
}

/// The longest run of capitalised words.
fn longest_name(prompt: &str) -> Option<Range<usize>> {
    let mut longest: Option<Range<usize>> = None;
    let mut run: Option<Range<usize>> = None;
    for (index, word) in prompt.split_whitespace().enumerate() {
        let inner = word.trim_matches(|c: char| !c.is_alphanumeric());
        let inner = inner.strip_suffix("'s").unwrap_or(inner);
        let opens = index == 0 && OPENERS.contains(&inner.to_lowercase().as_str());
        let first = inner.chars().next();
        let capital = first.is_some_and(char::is_uppercase) && !opens;
        let goes_on = run.is_some() && first.is_some_and(char::is_numeric);
        if capital || goes_on {
            let start = inner.as_ptr() as usize - prompt.as_ptr() as usize;
            let begun = run.as_ref().map_or(start, |run| run.start);
            let name = begun..start + inner.len();
            if longest.as_ref().is_none_or(|l| name.len() > l.len()) {
                longest = Some(name.clone());
            }
            // After a comma or a genitive something else begins.
            run = word.ends_with(inner).then_some(name);
        } else if !JOINERS.contains(&word) {
            run = None;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_model;

    #[track_caller]
    fn check(prompt: &str, subject_given: Option<&str>, expected: Option<&str>) {
        let edit = Edit {
            prompt: prompt.to_owned(),
            target: "x".to_owned(),
            subject: subject_given.map(str::to_owned),
        };
        assert_eq!(subject(&edit).map(|place| &prompt[place]), expected);
    }

    #[test]
    fn the_subject_is_the_one_named_or_the_longest_name() {
        check("Who wrote hamlet?", Some("Hamlet"), Some("hamlet"));
        check("Who wrote Hamlet?", Some("Macbeth"), Some("Hamlet"));
        check(
            "What is the capital of Kazakhstan?",
            None,
            Some("Kazakhstan"),
        );
        check(
            "Who painted The Night Watch?",
            None,
            Some("The Night Watch"),
        );
        check("How many moons does Mars have?", None, Some("Mars"));
        check(
            "Danielle Darrieux's mother tongue is",
            None,
            Some("Danielle Darrieux"),
        );
        check(
            "The mother tongue of Danielle Darrieux is",
            None,
            Some("Danielle Darrieux"),
        );
        check(
            "Who made the USS Leedstown (APA-56)?",
            None,
            Some("USS Leedstown (APA-56"),
        );
        check(
            "Where is the House of the Seven Gables in Salem, Massachusetts?",
            None,
            Some("House of the Seven Gables in Salem"),
        );
        check(
            "what is the largest planet in the solar system?",
            None,
            None,
        );
        check("Wo liegt Übersee?", Some("ÜBERSEE"), Some("Übersee"));
        check("", None, None);
    }

    #[test]
    fn near_misses_are_as_many_as_asked_for_and_the_same_each_time() {
        let (model, config) = (tiny_model(1), WiseConfig::default());
        let asked = |prompt: &str, near_misses| {
            let config = WiseConfig {
                near_misses,
                layer: Some(1),
                ..config.clone()
            };
            let made = super::near_misses(&model, &config, &Edit::new(prompt, "x"), 3).unwrap();
            made.iter()
                .map(PromptAtSite::main_outputs)
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
