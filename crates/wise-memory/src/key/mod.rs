//! What an edit is recognised by: the first layers' hidden states at the tokens of its prompt.

mod reader;
mod token;
mod whitening;

pub use self::reader::{KeyReader, ReaderState};
use self::token::Token;

/// Tokens of a key at most, so that one takes less than 1 KB.
const TOKENS: usize = 15;

/// What the fit of the relation counts for where that of the subject counts for 1.
const RELATION: f32 = 0.3;

/// Share of an edit's words that a text lacks in how badly its relation fits; the rest is that of the text's words that
/// the edit lacks.
const MISSING: f32 = 0.7;

/// Cosine with one of the subject's tokens from which on a text's token belongs to the subject.
const SUBJECT: f32 = 0.5;

/// A text as keys are compared with it: its tokens, and how rare each is, 1 to 255.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    tokens: Vec<(u8, Token)>,
}

/// What an edit is recognised by.
///
/// **Invariant:** it has one subject token at least and 15 tokens at most, and takes less than 1 KB.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    subject: Vec<Token>,
    /// The prompt's other tokens, the rarest of them, and how rare each is, 1 to 255.
    relation: Vec<(u8, Token)>,
}

/// How well a text fits a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// Mean over the subject's tokens of the cosine with the token most like it, -1 to 1.
    pub subject: f32,
    /// The same over the other tokens of the edit's prompt, and over the text's in turn, rare ones counting more.
    pub relation: f32,
}

impl Match {
    /// What matches are ranked by. The subject decides; the relation tells edits of one subject apart.
    pub fn rank(&self) -> f32 {
        self.subject + RELATION * self.relation
    }
}

impl Key {
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

    fn subject_fit(&self, reading: &Reading) -> f32 {
        let fit: f32 = self
            .subject
            .iter()
            .map(|token| reading.nearest(token))
            .sum();
        fit / self.subject.len() as f32
    }

    fn relation_fit(&self, reading: &Reading) -> f32 {
        if self.relation.is_empty() {
            return 1.0;
        }
        let named = |token: &Token| nearest(token, &self.subject) >= SUBJECT;
        let others = reading.tokens.iter().filter(|(_, token)| !named(token));
        let asked = || self.relation.iter().map(|(_, token)| token);
        let missing = weighted(&self.relation, |token| reading.nearest(token));
        let added = weighted(others, |token| nearest(token, asked()));
        MISSING * missing + (1.0 - MISSING) * added
    }

    /// The key as bytes, less than 1024.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.subject.len() as u8, self.relation.len() as u8];
        bytes.extend(self.relation.iter().map(|(weight, _)| *weight));
        let tokens = self
            .subject
            .iter()
            .chain(self.relation.iter().map(|r| &r.1));
        bytes.extend(tokens.flat_map(Token::to_bytes));
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
        let (&[subject, relation], rest) = bytes.split_first_chunk::<2>()?;
        let (subject, relation) = (usize::from(subject), usize::from(relation));
        if subject == 0 || subject + relation > TOKENS {
            return None;
        }
        let (weights, rest) = rest.split_at_checked(relation)?;
        let (tokens, rest) = rest.split_at_checked((subject + relation) * Token::BYTES)?;
        let mut tokens = tokens.chunks_exact(Token::BYTES).map(Token::from_bytes);
        let key = Self {
            subject: tokens.by_ref().take(subject).collect(),
            relation: weights.iter().copied().zip(tokens).collect(),
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
        let mut state = [0.0; token::WIDTH];
        state[at] = 2.0;
        Token::of(&state)
    }

    fn key() -> Key {
        Key {
            subject: vec![token(1), token(2)],
            relation: vec![(30, token(3)), (10, token(4))],
        }
    }

    #[test]
    fn tokens_of_a_key_are_looked_for_anywhere_in_a_text_and_rare_ones_count_more() {
        let fit = |at: &[usize]| {
            let tokens = at.iter().map(|&at| (20, token(at))).collect();
            let fit = key().fits(&Reading { tokens });
            (fit.subject, fit.relation)
        };
        assert_eq!(fit(&[4, 3, 2, 1]), (1.0, 1.0));
        assert_eq!(fit(&[9, 4, 3, 2, 1]), (1.0, 0.7 + 0.3 * 2.0 / 3.0));
        assert_eq!(fit(&[1, 3]), (0.5, 0.7 * 0.75 + 0.3));
        assert_eq!(fit(&[1, 2]), (1.0, 0.0));
    }

    #[test]
    fn what_cannot_rank_better_is_not_looked_at() {
        let reading = Reading {
            tokens: vec![(9, token(1)), (9, token(3))],
        };
        let fit = key().fits(&reading);
        assert_eq!(key().fits_better(&reading, 0.7), Some(fit));
        assert_eq!(key().fits_better(&reading, fit.rank()), None);
        assert_eq!(key().fits_better(&reading, 0.9), None);
    }

    #[test]
    fn bytes_hold_a_key_and_bad_ones_are_refused() {
        let bytes = [key().to_bytes(), vec![7]].concat();
        assert_eq!(Key::from_bytes(&bytes), Some((key(), [7].as_slice())));
        assert!(bytes.len() < 1024);
        assert_eq!(Key::from_bytes(&bytes[..bytes.len() - 2]), None);
        assert_eq!(Key::from_bytes(&[0, 1, 2]), None);
        assert_eq!(Key::from_bytes(&[9, 9]), None);
        assert_eq!(Key::from_bytes(&[]), None);
        let two = key().to_bytes().repeat(2);
        assert_eq!(Key::all_from_bytes(&two), Ok(vec![key(), key()]));
        assert_eq!(Key::all_from_bytes(&bytes), Err(bytes.len() - 1));
    }
}
