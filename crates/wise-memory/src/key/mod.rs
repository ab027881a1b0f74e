//! What an edit is recognised by: the first layers' hidden states at the tokens of its prompt.

mod asked;
mod direction;
mod learn;
mod linear;
mod reader;
mod refine;
mod relation;
mod whitening;

use std::ops::Range;

pub use self::asked::{Asked, ChosenFit};
use self::direction::Direction;
pub use self::learn::Learnt;
pub use self::reader::{KeyReader, ReaderState, plain_text};
pub use self::relation::RelationReader;
use self::relation::{Question, Relation};

/// A token: its hidden state, whitened.
type Token = Direction<128>;

/// Tokens of a key at most, so that one takes less than 1 KB.
const TOKENS: usize = 15;

/// What the fit of the relation counts for where that of the subject counts for 1.
const RELATION: f32 = 0.3;

/// Share of how well the words fit in how well the relation does, where one was read.
const WORDS: f32 = 0.1;

/// Share of an edit's words that a text lacks in how badly its words fit; the rest is that of the text's words that
/// the edit lacks.
const MISSING: f32 = 0.7;

/// Cosine with one of the subject's tokens from which on a text's token belongs to the subject.
const SUBJECT: f32 = 0.5;

/// The same from which on it is that very token, in the same surroundings.
const SAME: f32 = 0.9;

/// A text as keys are compared with it: its tokens, and how rare each is, 1 to 255.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    tokens: Vec<(u8, Token)>,
    /// What it asks for, where that was read.
    question: Option<Question>,
}

/// What an edit is recognised by.
///
/// **Invariant:** it has one subject token at least and 15 tokens at most, and takes less than 1 KB where it is kept
/// ([`Key::to_bytes`]); unpacked, as it is compared, some 2 KB.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its subject's tokens; of a long one as many as fit, the first and the last among them.
    subject: Vec<Token>,
    /// The prompt's other tokens, the rarest of them, and how rare each is, 1 to 255.
    others: Vec<(u8, Token)>,
    /// What the prompt asks for, where its reader reads that.
    relation: Option<Relation>,
}

/// How well a text fits a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// Mean over the subject's tokens of the cosine with the token most like it, -1 to 1.
    pub subject: f32,
    /// How well what is asked fits, -1 to 1: mostly the cosine of the two relations, where they are read; the rest the
    /// mean over the other tokens of the edit's prompt, and over the text's in turn, rare ones counting more.
    pub relation: f32,
}

impl Match {
    /// What matches are ranked by. The subject decides; the relation tells edits of one subject apart.
    pub fn rank(&self) -> f32 {
        self.subject + RELATION * self.relation
    }
}

impl Key {
    /// The key of a prompt whose tokens at `subject` name its subject; all do where there is none of those. `words` others
    /// have a place in it, if there are so many.
    fn new(prompt: &Reading, subject: Range<usize>, words: usize) -> Self {
        // A tokenizer may have no token for any of the subject's characters, and a long prompt is cut.
        let everywhere = subject.start >= subject.end.min(prompt.tokens.len());
        let named = |index: usize| everywhere || subject.contains(&index);
        let (named, mut others): (Vec<_>, Vec<_>) =
            (prompt.tokens.iter().cloned().enumerate()).partition(|(index, _)| named(*index));
        let kept = named.len().min(TOKENS - words.min(others.len()));
        let evenly = (0..kept).map(|index| index * (named.len() - 1) / (kept - 1).max(1));
        let subject: Vec<Token> = evenly.map(|index| named[index].1.1.clone()).collect();
        others.sort_by_key(|(_, (rarity, _))| std::cmp::Reverse(*rarity));
        others.truncate(TOKENS - subject.len());
        Self {
            subject,
            others: others.into_iter().map(|(_, token)| token).collect(),
            relation: None,
        }
    }

    /// How alike what two prompts ask for is, as a cosine; none where their reader does not tell.
    pub fn asks_as(&self, other: &Self) -> Option<f32> {
        let (own, others) = (self.relation.as_ref()?, other.relation.as_ref()?);
        Some(own.cosine(others))
    }

    /// How well a text fits.
    pub fn fits(&self, reading: &Reading) -> Match {
        Match {
            subject: self.subject_fit(reading),
            relation: self.relation_fit(reading),
        }
    }

    /// How well a text fits, unless it cannot rank above `rank`.
    pub(crate) fn fits_better(&self, reading: &Reading, rank: f32) -> Option<Match> {
        let subject = self.subject_fit(reading);
        if subject + RELATION <= rank {
            return None;
        }
        let relation = self.relation_fit(reading);
        let fit = Match { subject, relation };
        (fit.rank() > rank).then_some(fit)
    }

    /// How well a text's best tokens fit those of the subject.
    pub(crate) fn subject_fit(&self, reading: &Reading) -> f32 {
        let fit: f32 = self
            .subject
            .iter()
            .map(|token| reading.nearest(token))
            .sum();
        fit / self.subject.len() as f32
    }

    fn relation_fit(&self, reading: &Reading) -> f32 {
        let of_subject = self.of_subject(reading);
        let words = self.words_fit(reading, &of_subject);
        match (&self.relation, &reading.question) {
            (Some(own), Some(question)) => {
                (1.0 - WORDS) * own.cosine(&question.about(&of_subject)) + WORDS * words
            }
            _ => words,
        }
    }

    /// Of each of a text's tokens whether it belongs to the subject.
    fn of_subject(&self, reading: &Reading) -> Vec<bool> {
        let most_like = |(_, token): &(u8, Token)| {
            let cosines = self.subject.iter().map(|own| token.cosine(own));
            let best = cosines.enumerate().rev().max_by(|a, b| a.1.total_cmp(&b.1));
            best.unwrap_or((0, -1.0))
        };
        let most_like: Vec<(usize, f32)> = reading.tokens.iter().map(most_like).collect();
        let cosines = most_like.iter().map(|(_, cosine)| *cosine);
        let mut of_subject: Vec<bool> = cosines.map(|cosine| cosine >= SUBJECT).collect();
        if self.subject.len() == TOKENS {
            // Of a long subject not every token is kept.
            let tokens = most_like.iter().enumerate();
            let same = tokens.filter(|(_, (_, cosine))| *cosine >= SAME);
            let same: Vec<(usize, usize)> = same.map(|(at, (own, _))| (at, *own)).collect();
            for pair in same.windows(2) {
                let [(at, own), (next_at, next_own)] = [pair[0], pair[1]];
                if own + 1 == next_own {
                    of_subject[at..next_at].fill(true);
                }
            }
        }
        of_subject
    }

    fn words_fit(&self, reading: &Reading, of_subject: &[bool]) -> f32 {
        if self.others.is_empty() {
            return 1.0;
        }
        let others = reading.tokens.iter().zip(of_subject);
        let others = others.filter_map(|(token, of_subject)| (!of_subject).then_some(token));
        let asked = || self.others.iter().map(|(_, token)| token);
        let missing = weighted(&self.others, |token| reading.nearest(token));
        let added = weighted(others, |token| nearest(token, asked()));
        MISSING * missing + (1.0 - MISSING) * added
    }

    /// The key as bytes, less than 1024.
    pub fn to_bytes(&self) -> Vec<u8> {
        let counts = [
            self.subject.len(),
            self.others.len(),
            usize::from(self.relation.is_some()),
        ];
        let mut bytes: Vec<u8> = counts.iter().map(|&count| count as u8).collect();
        bytes.extend(self.others.iter().map(|(weight, _)| *weight));
        let tokens = self.subject.iter().chain(self.others.iter().map(|o| &o.1));
        bytes.extend(tokens.flat_map(Token::to_bytes));
        bytes.extend(self.relation.iter().flat_map(Relation::to_bytes));
        bytes
    }

    /// The keys that stand one behind the other in some bytes.
    ///
    /// # Errors
    /// Where no key begins, in bytes.
    pub fn all_from_bytes(bytes: &[u8]) -> Result<Vec<Self>, usize> {
        let (mut keys, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            let (key, left) = Self::from_bytes(rest).ok_or(bytes.len() - rest.len())?;
            keys.push(key);
            rest = left;
        }
        Ok(keys)
    }

    /// The key that some bytes begin with, and what is left of them; none if they do not begin with one.
    pub fn from_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (counts, rest) = bytes.split_first_chunk::<3>()?;
        let [subject, others, relations] = counts.map(usize::from);
        if subject == 0 || subject + others > TOKENS || relations > 1 {
            return None;
        }
        let (weights, rest) = rest.split_at_checked(others)?;
        let (tokens, rest) = rest.split_at_checked((subject + others) * Token::BYTES)?;
        let (relation, rest) = rest.split_at_checked(relations * Relation::BYTES)?;
        let mut tokens = tokens.chunks_exact(Token::BYTES).map(Token::from_bytes);
        let key = Self {
            subject: tokens.by_ref().take(subject).collect(),
            others: weights.iter().copied().zip(tokens).collect(),
            relation: (relations == 1).then(|| Relation::from_bytes(relation)),
        };
        Some((key, rest))
    }
}

impl Reading {
    /// Cosine of a token with the one most like it.
    fn nearest(&self, token: &Token) -> f32 {
        nearest(token, self.tokens.iter().map(|(_, other)| other))
    }
}

/// Cosine of a token with the one most like it.
fn nearest<'a>(token: &Token, others: impl IntoIterator<Item = &'a Token>) -> f32 {
    let cosines = others.into_iter().map(|other| token.cosine(other));
    cosines.fold(-1.0, f32::max)
}

/// Mean over tokens, rare ones counting more; 0 without any.
fn weighted<'a>(
    tokens: impl IntoIterator<Item = &'a (u8, Token)>,
    fit: impl Fn(&Token) -> f32,
) -> f32 {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (weight, token) in tokens {
        sum += f32::from(*weight) * fit(token);
        weights += f32::from(*weight);
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token along one coordinate.
    fn token(at: usize) -> Token {
        let mut state = [0.0; Token::WIDTH];
        state[at] = 2.0;
        Token::of(&state)
    }

    fn key() -> Key {
        Key {
            subject: vec![token(1), token(2)],
            others: vec![(30, token(3)), (10, token(4))],
            relation: None,
        }
    }

    fn reading(tokens: Vec<(u8, Token)>) -> Reading {
        Reading {
            tokens,
            question: None,
        }
    }

    #[test]
    fn tokens_of_a_key_are_looked_for_anywhere_in_a_text_and_rare_ones_count_more() {
        let fit = |at: &[usize]| {
            let tokens = at.iter().map(|&at| (20, token(at))).collect();
            let fit = key().fits(&reading(tokens));
            (fit.subject, fit.relation)
        };
        assert_eq!(fit(&[4, 3, 2, 1]), (1.0, 1.0));
        assert_eq!(fit(&[9, 4, 3, 2, 1]), (1.0, 0.7 + 0.3 * 2.0 / 3.0));
        assert_eq!(fit(&[1, 3]), (0.5, 0.7 * 0.75 + 0.3));
        assert_eq!(fit(&[1, 2]), (1.0, 0.0));
    }

    #[test]
    fn a_key_is_its_subject_and_the_rarest_others_and_without_a_subject_all_is_one() {
        let weights = [7, 1, 9, 4];
        let tokens = (0..4).map(|at| (weights[at], token(at))).collect();
        let prompt = reading(tokens);
        let expected = Key {
            subject: vec![token(1)],
            others: [2, 0, 3].map(|at| (weights[at], token(at))).to_vec(),
            relation: None,
        };
        assert_eq!(Key::new(&prompt, 1..2, 0), expected);
        for nowhere in [1..1, 4..6] {
            let key = Key::new(&prompt, nowhere, 3);
            assert_eq!((key.subject.len(), key.others.len()), (4, 0));
        }
    }

    #[test]
    fn of_a_long_subject_the_tokens_that_are_not_kept_are_its_own_where_it_stands_in_a_text() {
        let text = |at: &[usize]| reading(at.iter().map(|&at| (1, token(at))).collect());
        let prompt: Vec<usize> = (0..22).collect();
        let key = Key::new(&text(&prompt), 2..22, 0);
        let kept = [2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 21];
        assert_eq!(key.subject, kept.map(token));
        let subject = &prompt[2..];
        let of_subject = |at: &[&[usize]]| key.of_subject(&text(&at.concat()));
        let expected = [vec![false; 3], vec![true; 20], vec![false]].concat();
        assert_eq!(of_subject(&[&[30, 1, 31], subject, &[32]]), expected);
        let with_words = Key::new(&text(&prompt), 1..22, 3);
        let counts = (with_words.subject.len(), with_words.others.len());
        assert_eq!(counts, (TOKENS - 1, 1));
        // Not the next that is kept.
        let expected = [true, false, true, true, false, false, true];
        assert_eq!(of_subject(&[&[2, 31, 4, 3, 31, 5, 6]]), expected);
    }

    #[test]
    fn what_cannot_rank_better_is_not_looked_at() {
        let reading = reading(vec![(9, token(1)), (9, token(3))]);
        let fit = key().fits(&reading);
        assert_eq!(key().fits_better(&reading, 0.7), Some(fit));
        assert_eq!(key().fits_better(&reading, fit.rank()), None);
        assert_eq!(key().fits_better(&reading, 0.9), None);
    }

    #[test]
    fn what_is_asked_counts_more_than_the_words_where_it_is_read() {
        let coordinate = |at: usize| std::array::from_fn(|i| f32::from(u8::from(i == at)));
        let relation = |at: usize| Some(Relation::of(&coordinate(at)));
        let key = |relation| Key { relation, ..key() };
        let mut reading = reading(vec![(20, token(1)), (20, token(2))]);
        let fit = |key: Key, reading: &Reading| key.fits(reading).relation;
        assert_eq!(fit(key(relation(5)), &reading), 0.0);
        // The subject's own tokens ask for something else, and do not count.
        reading.tokens.push((1, token(9)));
        reading.question = Some(Question {
            last: coordinate(5),
            tokens: vec![coordinate(6), coordinate(6), coordinate(5)],
        });
        assert_eq!(fit(key(relation(5)), &reading), 1.0 - WORDS);
        assert_eq!(fit(key(relation(6)), &reading), 0.0);
        assert_eq!(fit(key(None), &reading), 0.0);
        let bytes = key(relation(5)).to_bytes();
        assert_eq!(Key::all_from_bytes(&bytes), Ok(vec![key(relation(5))]));
    }

    #[test]
    fn a_key_takes_less_than_a_kilobyte() {
        let key = Key {
            subject: vec![token(1)],
            others: vec![(9, token(2)); TOKENS - 1],
            relation: Some(Relation::from_bytes(&[1; Relation::BYTES])),
        };
        assert!(key.to_bytes().len() < 1024);
    }

    #[test]
    fn bytes_hold_a_key_and_bad_ones_are_refused() {
        let bytes = [key().to_bytes(), vec![7]].concat();
        assert_eq!(Key::from_bytes(&bytes), Some((key(), [7].as_slice())));
        assert!(bytes.len() < 1024);
        assert_eq!(Key::from_bytes(&bytes[..bytes.len() - 2]), None);
        assert_eq!(Key::from_bytes(&[0, 1, 0, 2]), None);
        assert_eq!(Key::from_bytes(&[9, 9, 0]), None);
        assert_eq!(Key::from_bytes(&[]), None);
        let two = key().to_bytes().repeat(2);
        assert_eq!(Key::all_from_bytes(&two), Ok(vec![key(), key()]));
        assert_eq!(Key::all_from_bytes(&bytes), Err(bytes.len() - 1));
    }
}
