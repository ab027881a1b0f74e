//! What an edit is about, and what else can be asked about it.

use std::ops::Range;

use wise_memory::plain_text;

use crate::Edit;
use crate::wise::draw::Draw;
use crate::wise::questions::Question;
use crate::wise::{WiseConfig, neutral_prompts};

/// Subjects of all kinds, a line each; none of them is edited in a benchmark's test records.
pub(crate) const SUBJECTS: &str = include_str!("../../data/subjects.txt");

/// Questions and beginnings of sentences about a subject, which stands where the braces are.
pub(crate) const RELATIONS: &str = include_str!("../../data/relations.txt");

/// What may open a sentence in upper case without being a name.
const OPENERS: [&str; 40] = [
    "a", "an", "and", "are", "as", "at", "by", "can", "complete", "did", "do", "does", "for",
    "from", "give", "has", "how", "if", "in", "is", "my", "name", "of", "on", "our", "please",
    "tell", "the", "to", "was", "were", "what", "when", "where", "which", "who", "whom", "whose",
    "why", "with",
];

/// What a name may end in and is no part of it; phones write the second.
const GENITIVES: [&str; 2] = ["'s", "’s"];

/// Words inside a name that are written in lower case.
const JOINERS: [&str; 10] = [
    "of", "the", "and", "de", "la", "van", "von", "der", "for", "in",
];

/// Where an edit's prompt names its subject: as the edit says, else the longest name in it, else what follows the words
/// that open a question.
pub fn subject(edit: &Edit) -> Option<Range<usize>> {
    name(edit).or_else(|| described(&edit.prompt))
}

/// As the edit says, else the longest name in its prompt.
pub(crate) fn name(edit: &Edit) -> Option<Range<usize>> {
    let named = edit
        .subject
        .as_deref()
        .map(str::trim)
        .filter(|s| !s.is_empty());
    let named = named.and_then(|subject| place(subject, &edit.prompt));
    named.or_else(|| longest_name(&edit.prompt))
}

/// Where `prompt` names `subject`: as whole words rather than in a word, then as it is written rather than in another case,
/// then the first time.
fn place(subject: &str, prompt: &str) -> Option<Range<usize>> {
    let in_word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let places = prompt.char_indices().filter_map(|(start, _)| {
        let end = start + length_of(subject, &prompt[start..])?;
        Some(start..end)
    });
    places.min_by_key(|place| {
        let before = prompt[..place.start].chars().next_back();
        let behind = prompt[place.end..].chars().next();
        let cut = in_word(before) || in_word(behind);
        (cut, &prompt[place.clone()] != subject)
    })
}

/// How much of a text is `subject` in upper or lower case, in bytes, if the text begins with it.
fn length_of(subject: &str, text: &str) -> Option<usize> {
    let mut wanted = subject.chars().flat_map(char::to_lowercase).peekable();
    for (at, letter) in text.char_indices() {
        if wanted.peek().is_none() {
            return Some(at);
        }
        for lower in letter.to_lowercase() {
            wanted.next_if_eq(&lower)?;
        }
    }
    wanted.peek().is_none().then_some(text.len())
}

/// What an edit is about, as keys read it: the same for edits of one subject.
pub(crate) fn plain_subject(edit: &Edit) -> Option<String> {
    subject(edit).map(|place| plain_text(&edit.prompt[place]))
}

/// A word without what stands around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

fn opens(word: &str) -> bool {
    OPENERS.contains(&word.to_lowercase().as_str())
}

/// Where `part`, a slice of `prompt`, begins.
fn start_of(part: &str, prompt: &str) -> usize {
    part.as_ptr() as usize - prompt.as_ptr() as usize
}

/// A prompt behind its opening words.
fn described(prompt: &str) -> Option<Range<usize>> {
    let words = prompt.split_whitespace().map(bare);
    let mut words = words.filter(|word| !word.is_empty());
    let first = words.find(|word| !opens(word))?;
    let last = words.next_back().unwrap_or(first);
    Some(start_of(first, prompt)..start_of(last, prompt) + last.len())
}

/// The longest run of capitalised words.
fn longest_name(prompt: &str) -> Option<Range<usize>> {
    let mut longest: Option<Range<usize>> = None;
    let mut run: Option<Range<usize>> = None;
    for (index, word) in prompt.split_whitespace().enumerate() {
        let inner = bare(word);
        let genitive = GENITIVES.iter().find_map(|end| inner.strip_suffix(end));
        let inner = genitive.unwrap_or(inner);
        let first = inner.chars().next();
        let capital = first.is_some_and(char::is_uppercase) && !(index == 0 && opens(inner));
        let goes_on = run.is_some() && first.is_some_and(char::is_numeric);
        if capital || goes_on {
            let start = start_of(inner, prompt);
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

/// A name as titles are written, if it is in lower case altogether.
fn in_title_case(name: &str) -> String {
    if name.chars().any(char::is_uppercase) {
        return name.to_owned();
    }
    let word = |(index, word): (usize, &str)| {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index == 0 || !JOINERS.contains(&word) => {
                first.to_uppercase().chain(letters).collect()
            }
            _ => word.to_owned(),
        }
    };
    let words: Vec<String> = name.split(' ').enumerate().map(word).collect();
    words.join(" ")
}

/// Some of the shipped questions, of all kinds.
pub(crate) fn questions_of_all_kinds(config: &WiseConfig, id: usize) -> Vec<Question> {
    let mut draw = Draw::new(config.seed, id, 2);
    let mut relations: Vec<&str> = RELATIONS.lines().collect();
    let count = config.subject_prompts.min(relations.len());
    (0..count)
        .map(|_| Question::of_any_kind(relations.swap_remove(draw.below(relations.len()))))
        .collect()
}

/// Questions about the edit's subject; none where no subject is found in the prompt. A subject that is typed in lower case
/// stands in every other of them as titles are written.
pub(crate) fn about_subject(edit: &Edit, questions: &[Question]) -> Vec<String> {
    let Some(place) = subject(edit) else {
        return Vec::new();
    };
    let subject = &edit.prompt[place];
    let titled = in_title_case(subject);
    questions
        .iter()
        .zip([subject, &titled].into_iter().cycle())
        .map(|(question, subject)| question.text.replace("{}", subject))
        .collect()
}

/// Texts of all kinds, for what tokens have in common: the neutral prompts and every other relation, of some subject.
pub fn ordinary_texts() -> Vec<String> {
    let subjects: Vec<&str> = SUBJECTS.lines().collect();
    let about = RELATIONS.lines().step_by(2).enumerate();
    let about = about.map(|(i, relation)| relation.replace("{}", subjects[i * 7 % subjects.len()]));
    about.chain(neutral_prompts()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_subject_is_the_one_named_the_longest_name_or_what_follows_the_question_words() {
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
        check("What’s the capital of Peru?", None, Some("Peru"));
        check("Peru’s Prime Minister is", None, Some("Prime Minister"));
        check("Kazakhstan’s capital is", None, Some("Kazakhstan"));
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
            "What is the largest planet in the solar system?",
            None,
            Some("largest planet in the solar system"),
        );
        check("who wrote \"hamlet\"?", None, Some("wrote \"hamlet"));
        check("Who is?", None, None);
        check("Wo liegt Übersee?", Some("ÜBERSEE"), Some("Übersee"));
        check(
            "İstanbul'da Fenerbahçe nerede?",
            Some("Fenerbahçe"),
            Some("Fenerbahçe"),
        );
        check("Kennt İ den İsa", Some("İSA"), Some("İsa"));
        check("", None, None);
    }

    #[test]
    fn a_subject_is_looked_for_as_whole_words_first() {
        let found = |subject: &str, prompt: &str| place(subject, prompt).map(|place| place.start);
        assert_eq!(found("Oman", "Did a woman govern oman? In Oman?"), Some(28));
        assert_eq!(found("Oman", "Did a woman govern oman?"), Some(19));
        assert_eq!(found("Oman", "A Romanian or a woman"), Some(3));
        assert_eq!(found("Oman", "Oma"), None);
        assert_eq!(found("It", "The title of It, the film"), Some(13));
    }

    #[test]
    fn a_subject_in_lower_case_is_written_in_two_ways() {
        assert_eq!(
            in_title_case("diary of a wimpy kid"),
            "Diary of A Wimpy Kid"
        );
        assert_eq!(in_title_case("the 5th élan"), "The 5th Élan");
        assert_eq!(in_title_case("Ben Hogan's reply"), "Ben Hogan's reply");
        assert_eq!(in_title_case(""), "");
        let edit = Edit {
            subject: Some("real madrid".to_owned()),
            ..Edit::new("who owns real madrid?", "nobody")
        };
        let questions = questions_of_all_kinds(&WiseConfig::default(), 1);
        let prompts = about_subject(&edit, &questions);
        let titled = |prompt: &&String| prompt.contains("Real Madrid");
        assert_eq!(prompts.iter().filter(titled).count(), 2);
    }
}
