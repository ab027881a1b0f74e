//! Reads keys, and the texts they are compared with, off a model.

use std::ops::Range;

use wise_model::{Error, Model, Row};

use super::linear::tensor;
use super::relation::{Question, RelationReader};
use super::whitening::whitening;
use super::{Key, Reading, Token};

/// Layer whose hidden states are read, counted from 0. So far down a token still stands for the word it belongs to,
/// and already knows the words in front of it.
const LAYER: usize = 1;

/// Texts that are run together.
const TOGETHER: usize = 16;

/// Other tokens than the subject's that a key has at least, if its prompt has them, where they alone tell what is asked.
const WORDS_ALONE: usize = 3;

/// Share of the neutral tokens that are shorter than a token that counts in full.
const COMMON: f64 = 0.95;

/// Reads keys, and the texts they are compared with, off a model.
///
/// Every text is read by itself behind a line break and a space, never in a template, so that its first word is the
/// same token as in the middle of another text, and a key fits in every prompt format; and in lower case without quotation
/// marks, brackets and the like around its words, so that a name is the same however it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyReader {
    state: ReaderState,
}

/// A reader as numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct ReaderState {
    /// Mean hidden state of the neutral texts, `[hidden]`.
    pub mean: Vec<f32>,
    /// What whitens them, `[at most 128, hidden]` row by row; each a brain float, so that two bytes hold it.
    pub whitening: Vec<f32>,
    /// Length of a whitened state from which on a token counts in full.
    pub rare: f32,
    /// What reads relations, where one was learnt.
    pub relations: Option<RelationReader>,
}

impl ReaderState {
    /// Whether keys of one reader mean the same to the other: they differ by no more than what two devices round
    /// differently.
    pub fn is_like(&self, other: &Self) -> bool {
        self.relations == other.relations
            && near(&self.mean, &other.mean)
            && near(&self.whitening, &other.whitening)
            && near(&[self.rare], &[other.rare])
    }
}

impl KeyReader {
    /// A reader that measures against neutral texts; keys of one reader mean nothing to another.
    ///
    /// # Errors
    /// If the model cannot run the texts, or there are none.
    pub fn new(model: &Model, neutral: &[String]) -> Result<Self, Error> {
        if neutral.is_empty() {
            return Err(Error::Empty {
                what: "neutral text",
            });
        }
        let states = hidden(model, &all_words(model, neutral)?, LAYER)?;
        let states: Vec<Vec<f32>> = states.into_iter().flatten().collect();
        let (count, width) = (states.len(), model.config().hidden_size);
        let mean = |i: usize| {
            let sum: f64 = states.iter().map(|state| f64::from(state[i])).sum();
            (sum / count as f64) as f32
        };
        let mean: Vec<f32> = (0..width).map(mean).collect();
        let centred = states
            .iter()
            .flat_map(|s| s.iter().zip(&mean).map(|(x, m)| x - m));
        let centred = tensor(centred.collect(), width, model.device());
        let whitening = whitening(&centred, Token::WIDTH.min(width));
        let mut reader = Self::from_state(ReaderState {
            mean,
            whitening: whitening.into_iter().flatten().map(brain_float).collect(),
            rare: f32::INFINITY,
            relations: None,
        });
        let mut lengths: Vec<f64> = states.iter().map(|s| length(&reader.whitened(s))).collect();
        lengths.sort_by(f64::total_cmp);
        reader.state.rare = lengths[((count - 1) as f64 * COMMON) as usize] as f32;
        Ok(reader)
    }

    /// The reader that a state describes.
    pub fn from_state(state: ReaderState) -> Self {
        Self { state }
    }

    /// The reader as numbers.
    pub fn state(&self) -> &ReaderState {
        &self.state
    }

    /// The same reader, which also reads what prompts ask for.
    #[must_use]
    pub fn with_relations(mut self, relations: RelationReader) -> Self {
        self.state.relations = Some(relations);
        self
    }

    /// Whether it reads what prompts ask for, apart from their words.
    pub fn reads_relations(&self) -> bool {
        self.state.relations.is_some()
    }

    /// Reads texts, each given as tokens of a prompt; what they ask for only of those that are `worth_it`, for it takes
    /// more layers.
    ///
    /// # Errors
    /// If the model cannot run them.
    pub fn read(
        &self,
        model: &Model,
        texts: &[&[u32]],
        worth_it: impl Fn(&Reading) -> bool,
    ) -> Result<Vec<Reading>, Error> {
        let texts = texts.iter().map(|tokens| model.detokenize(tokens));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        self.read_words(model, &all_words(model, &texts)?, worth_it)
    }

    /// Reads texts, each given as the tokens of its words.
    pub(super) fn read_words(
        &self,
        model: &Model,
        texts: &[Vec<u32>],
        worth_it: impl Fn(&Reading) -> bool,
    ) -> Result<Vec<Reading>, Error> {
        let states = hidden(model, texts, LAYER)?;
        let mut readings: Vec<Reading> = states.iter().map(|states| self.reading(states)).collect();
        if let Some(relations) = &self.state.relations {
            let (worth, texts): (Vec<&mut Reading>, Vec<Vec<u32>>) = readings
                .iter_mut()
                .zip(texts)
                .filter(|(reading, _)| worth_it(reading))
                .map(|(reading, text)| (reading, text.clone()))
                .unzip();
            let questions = relations.read(model, &texts)?;
            for (reading, question) in worth.into_iter().zip(questions) {
                reading.question = Some(question);
            }
        }
        Ok(readings)
    }

    /// The key of a prompt whose subject stands at `subject`, in bytes; without a subject all of it is one.
    ///
    /// # Errors
    /// If the model cannot run it.
    pub fn key(
        &self,
        model: &Model,
        prompt: &str,
        subject: Option<Range<usize>>,
    ) -> Result<Key, Error> {
        let prompt = [(prompt.to_owned(), subject)];
        Ok(self.keys(model, &prompt)?.remove(0))
    }

    /// [`Self::key`] of each of several prompts.
    ///
    /// # Errors
    /// If the model cannot run one.
    pub fn keys(
        &self,
        model: &Model,
        prompts: &[(String, Option<Range<usize>>)],
    ) -> Result<Vec<Key>, Error> {
        let words = |(prompt, subject): &(String, Option<Range<usize>>)| {
            words(model, prompt, subject.clone())
        };
        let words = prompts.iter().map(words).collect::<Result<Vec<_>, _>>()?;
        let (texts, places): (Vec<_>, Vec<_>) = words.into_iter().unzip();
        let readings = self.read_words(model, &texts, |_| true)?;
        let words = if self.reads_relations() {
            0
        } else {
            WORDS_ALONE
        };
        let key = |(reading, place): (&Reading, Range<usize>)| {
            let mut key = Key::new(reading, place, words);
            let about = |question: &Question| question.about(&key.of_subject(reading));
            key.relation = reading.question.as_ref().map(about);
            key
        };
        Ok(readings.iter().zip(places).map(key).collect())
    }

    fn reading(&self, states: &[Vec<f32>]) -> Reading {
        Reading {
            tokens: states.iter().map(|state| self.token(state)).collect(),
            question: None,
        }
    }

    /// A token, and how rare it is by the square of its length, 1 to 255.
    fn token(&self, state: &[f32]) -> (u8, Token) {
        let whitened = self.whitened(state);
        let share = (length(&whitened) / f64::from(self.state.rare)).min(1.0);
        let rarity = (255.0 * share * share).round().max(1.0) as u8;
        (rarity, Token::of(&whitened))
    }

    fn whitened(&self, state: &[f32]) -> Vec<f32> {
        let ReaderState {
            mean, whitening, ..
        } = &self.state;
        let centred: Vec<f32> = state.iter().zip(mean).map(|(x, m)| x - m).collect();
        let rows = whitening.chunks_exact(mean.len());
        rows.map(|row| row.iter().zip(&centred).map(|(a, b)| a * b).sum())
            .collect()
    }
}

/// Whether two vectors are a hundredth of their length apart at most.
fn near(a: &[f32], b: &[f32]) -> bool {
    let apart: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    a.len() == b.len() && length(&apart) <= 0.01 * length(a)
}

/// The nearest number whose lower two bytes are 0.
pub(super) fn brain_float(x: f64) -> f32 {
    let bits = (x as f32).to_bits();
    f32::from_bits(bits.saturating_add(0x8000) & 0xFFFF_0000)
}

pub(super) fn length<T: Copy + Into<f64>>(x: &[T]) -> f64 {
    let squares = x.iter().map(|&x| x.into() * x.into());
    squares.sum::<f64>().sqrt()
}

/// Hidden states of each text's tokens but the line break.
pub(super) fn hidden(
    model: &Model,
    texts: &[Vec<u32>],
    layer: usize,
) -> Result<Vec<Vec<Vec<f32>>>, Error> {
    let layer = layer.min(model.config().layers - 1);
    let mut hidden = Vec::new();
    for texts in texts.chunks(TOGETHER) {
        let rows: Vec<Row> = texts.iter().cloned().map(Row::from).collect();
        let site = model.prefix(&rows, layer, None)?;
        let width = site.residual.dims()[1];
        let states: Vec<f32> = site.residual.into_data().iter::<f32>().collect();
        hidden.extend(site.layout.rows().iter().map(|row| {
            let first = row.start + usize::from(row.len() > 1);
            let states = states[first * width..row.end * width].chunks(width);
            states.map(<[f32]>::to_vec).collect()
        }));
    }
    Ok(hidden)
}

/// What stands around a word and is no part of it. Where it touches one, the word's first token is another.
const AROUND_WORDS: &str = "\"'“”„‘’‚«»()[]{}*_`";

/// A text without what stands around its words, in lower case, and each letter's place in the text, in bytes.
fn plain(text: &str) -> Vec<(usize, char)> {
    let mut plain: Vec<(usize, char)> = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((byte, letter)) = letters.next() {
        let in_word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        let before = plain.last().map(|(_, letter)| *letter);
        let behind = letters.peek().map(|(_, letter)| *letter);
        if AROUND_WORDS.contains(letter) && !(in_word(before) && in_word(behind)) {
            continue;
        }
        let letter = if letter == '’' { '\'' } else { letter };
        if !letter.is_whitespace() || before.is_some() {
            plain.extend(letter.to_lowercase().map(|lower| (byte, lower)));
        }
    }
    while plain.last().is_some_and(|(_, last)| last.is_whitespace()) {
        plain.pop();
    }
    plain
}

/// A text as keys are read from it: in lower case, without what stands around its words. Prompts that agree in it have the
/// same key.
pub fn plain_text(text: &str) -> String {
    plain(text).into_iter().map(|(_, letter)| letter).collect()
}

/// The tokens of each text's words, as keys are read from them.
pub(super) fn all_words<'a>(
    model: &Model,
    texts: impl IntoIterator<Item = &'a String>,
) -> Result<Vec<Vec<u32>>, Error> {
    let texts = texts.into_iter().map(|text| words(model, text, None));
    texts.map(|read| read.map(|(tokens, _)| tokens)).collect()
}

/// The tokens of a text's words behind a line break, and where among them, not counting it, the bytes `part` stand; all
/// of it where no part is named.
pub(super) fn words(
    model: &Model,
    text: &str,
    part: Option<Range<usize>>,
) -> Result<(Vec<u32>, Range<usize>), Error> {
    const LEAD: &str = "\n ";
    let plain = plain(text);
    let part = part.unwrap_or(0..text.len());
    let place = |byte: usize| {
        let in_front = plain.iter().take_while(|(at, _)| *at < byte);
        LEAD.len() + in_front.map(|(_, letter)| letter.len_utf8()).sum::<usize>()
    };
    let part = place(part.start)..place(part.end);
    let read: String = LEAD
        .chars()
        .chain(plain.iter().map(|(_, letter)| *letter))
        .collect();
    let (mut tokens, part) = model.tokenize_part(&read, part)?;
    tokens.truncate(model.config().context);
    Ok((
        tokens,
        part.start.saturating_sub(1)..part.end.saturating_sub(1),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_alike_up_to_rounding() {
        let state = ReaderState {
            mean: vec![1.0, -2.0],
            whitening: vec![0.5, 0.25, -1.0, 3.0],
            rare: 4.0,
            relations: None,
        };
        let [mut rounded, mut another, mut narrow] = std::array::from_fn(|_| state.clone());
        rounded.mean[0] += 1e-4;
        rounded.whitening[1] += 1e-3;
        another.whitening[3] = 2.9;
        narrow.whitening.truncate(2);
        assert!(state.is_like(&state) && state.is_like(&rounded));
        assert!(!state.is_like(&another) && !state.is_like(&narrow));
    }

    #[test]
    fn a_text_is_read_in_lower_case_without_what_stands_around_its_words() {
        let read = plain_text;
        assert_eq!(read(" FIFA, Zürich ΣΑΣ "), "fifa, zürich σασ");
        assert_eq!(read("Who wrote \"The Trial\"?"), "who wrote the trial?");
        assert_eq!(read("“The Trial,” *Emma*, _Dune_"), "the trial, emma, dune");
        assert_eq!(read("Scarlett O'Hara’s 'Tara'"), "scarlett o'hara's tara");
        assert_eq!(read("\"Fred Beaver\"'s town"), "fred beaver's town");
        assert_eq!(
            read("USS Ida (APA-56), f(x), a_b"),
            "uss ida apa-56, f(x, a_b"
        );
        assert_eq!(read("-5 $100 #1 C++ .NET"), "-5 $100 #1 c++ .net");
        assert_eq!((read(" \"* "), read("")), (String::new(), String::new()));
    }

    #[test]
    fn a_letter_knows_its_place() {
        let places = |text: &str| plain(text).iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(places(" \"Ü\" b"), [2, 5, 6]);
        // One letter is two in lower case.
        assert_eq!(places("İx"), [0, 0, 2]);
    }
}
