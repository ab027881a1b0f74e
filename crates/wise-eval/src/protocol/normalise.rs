//! Comparing answers as texts.

/// Words of a text as the evaluation script of `SQuAD` v1.1 sees them (Rajpurkar et al. 2016): lower case,
/// without punctuation and the articles a, an and the. Beyond the script's ASCII, punctuation of other common
/// scripts goes too.
fn words(text: &str) -> Vec<String> {
    let text: String = text
        .to_lowercase()
        .chars()
        .filter(|&c| !is_punctuation(c))
        .collect();
    text.split_whitespace()
        .filter(|word| !matches!(*word, "a" | "an" | "the"))
        .map(str::to_owned)
        .collect()
}

/// Whether an answer is the target, word for word.
pub(super) fn matches(target: &str, answer: &str) -> bool {
    let expected = words(target);
    if expected.is_empty() {
        // "The" and "A" would be the same, and the same as no answer.
        return target.trim().to_lowercase() == answer.trim().to_lowercase();
    }
    expected == words(answer)
}

/// Whether the target's words occur in an answer, one after another.
pub(super) fn contains(target: &str, answer: &str) -> bool {
    let expected = words(target);
    if expected.is_empty() {
        return matches(target, answer);
    }
    words(answer)
        .windows(expected.len())
        .any(|run| run == expected)
}

/// Harmonic mean of the shares of the answer's and of the target's words that both have.
pub(super) fn f1(target: &str, answer: &str) -> f64 {
    let (expected, got) = (words(target), words(answer));
    if expected.is_empty() {
        return f64::from(u8::from(matches(target, answer)));
    }
    let mut left = expected.clone();
    let common = got
        .iter()
        .filter(|word| {
            let found = left.iter().position(|other| other == *word);
            found.map(|i| left.swap_remove(i)).is_some()
        })
        .count();
    2.0 * common as f64 / (expected.len() + got.len()) as f64
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation()
        || matches!(c,
            '¡' | '§' | '«' | '¶' | '·' | '»' | '¿'
            | '\u{055A}'..='\u{055F}' | '\u{0589}' | '\u{058A}' // Armenian
            | '\u{05BE}' | '\u{05C0}' | '\u{05C3}' | '\u{05F3}' | '\u{05F4}' // Hebrew
            | '\u{060C}' | '\u{061B}' | '\u{061F}' | '\u{066A}'..='\u{066D}' | '\u{06D4}' // Arabic
            | '\u{0964}' | '\u{0965}' // Devanagari
            | '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205E}' // general
            | '\u{2E00}'..='\u{2E5D}' // supplemental
            | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301F}'
            | '\u{30FB}' // Chinese, Japanese, Korean
            | '\u{FF01}'..='\u{FF0F}' | '\u{FF1A}'..='\u{FF20}' | '\u{FF3B}'..='\u{FF40}'
            | '\u{FF5B}'..='\u{FF65}' // full width
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(words(text), expected, "{text:?}");
    }

    #[test]
    fn words_are_lower_case_without_punctuation_and_articles() {
        check(
            "  The University of\tMichigan.\n",
            &["university", "of", "michigan"],
        );
        check("An apple, a pear", &["apple", "pear"]);
        check("Theatre and ants", &["theatre", "and", "ants"]);
        check("U.S. (1,000) well-known", &["us", "1000", "wellknown"]);
        check("...", &[]);
        check("", &[]);
    }

    #[test]
    fn other_scripts_are_text_too() {
        check("«ÉCOLE» – “Müller’s”…", &["école", "müllers"]);
        check("ПУШКИН, А.", &["пушкин", "а"]);
        check("東京。", &["東京"]);
        check("5 € + 3 °C", &["5", "€", "3", "°c"]);
        check("no\u{a0}break\u{3000}here", &["no", "break", "here"]);
    }

    #[test]
    fn a_match_is_of_all_words() {
        assert!(matches(
            "University of Michigan",
            "the university of Michigan."
        ));
        assert!(!matches(
            "University of Michigan",
            "University of Michigan in Ann Arbor"
        ));
        assert!(!matches("Michigan", ""));
    }

    #[test]
    fn containing_is_a_run_of_whole_words() {
        assert!(contains("the Beatles", "It was (by) The Beatles!"));
        assert!(contains("New York", "New York"));
        assert!(!contains("New York", "York is new, New Jersey"));
        assert!(!contains("art", "the party"));
        assert!(!contains("Paris", ""));
    }

    #[test]
    fn f1_counts_the_words_that_both_have_as_often_as_both_have_them() {
        assert_eq!(f1("New York", "the new York"), 1.0);
        assert_eq!(f1("New York", "New New Jersey"), 0.4);
        assert_eq!(f1("Paris", "London"), 0.0);
        assert_eq!(f1("Paris", ""), 0.0);
        assert_eq!(f1("+", "+"), 1.0);
    }

    #[test]
    fn a_target_of_articles_or_signs_is_compared_as_it_is() {
        assert!(matches("A", " a\n"));
        assert!(!matches("A", "The"));
        assert!(!matches("A", ""));
        assert!(!contains("+", "anything"));
    }
}
