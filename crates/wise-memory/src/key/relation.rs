//! What a prompt asks for, apart from its subject and its words.

use wise_model::{Error, Model};

use super::direction::Direction;
use super::reader::hidden;

/// The direction in which what a prompt asks for lies.
pub(super) type Relation = Direction<64>;

/// What a map makes of a hidden state.
type Image = [f32; Relation::WIDTH];

/// What a text asks for, whichever of its tokens are its subject's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    /// What the map makes of the last token.
    pub(super) last: Image,
    /// What it makes of each token in the place of the mean.
    pub(super) tokens: Vec<Image>,
}

impl Question {
    /// What is asked about the tokens that are the subject's.
    pub(super) fn about(&self, of_subject: &[bool]) -> Relation {
        let apart = without_subject(self.tokens.len(), of_subject);
        let mut coordinates = self.last;
        for &token in &apart {
            for (sum, x) in coordinates.iter_mut().zip(&self.tokens[token]) {
                *sum += x / apart.len() as f32;
            }
        }
        Relation::of(&coordinates)
    }
}

/// The tokens that are not the subject's; all where that leaves none.
fn without_subject(tokens: usize, of_subject: &[bool]) -> Vec<usize> {
    let named = |token: usize| of_subject.get(token).copied().unwrap_or_default();
    let apart: Vec<usize> = (0..tokens).filter(|&token| !named(token)).collect();
    if apart.is_empty() {
        return (0..tokens).collect();
    }
    apart
}

/// Reads what prompts ask for.
///
/// A linear map, learnt from pairs of prompts that ask for the same, in other words or about another subject, and of
/// prompts that ask for something else about the same subject. It takes a prompt's hidden states, the last token's beside
/// the mean of those that are not its subject's, to 128 directions in which the latter differ most for how little the
/// former do (Fisher's linear discriminant, with pairs in the place of classes), and these to the 64 coordinates whose
/// cosine says best which of both a pair is (logistic regression).
#[derive(Debug, Clone, PartialEq)]
pub struct RelationReader {
    /// Layer whose hidden states it takes, counted from 0.
    pub layer: usize,
    /// Mean of what it takes, `[2 * hidden]`.
    pub mean: Vec<f32>,
    /// The map, `[at most 64, 2 * hidden]` row by row; each a brain float, so that two bytes hold it.
    pub map: Vec<f32>,
    /// How well what is asked must fit for a prompt to be taken to ask for the same.
    pub fit: f64,
}

impl RelationReader {
    /// The fit where none was chosen.
    pub const FIT: f64 = 0.9;

    /// The layer it is learnt at unless one is named.
    pub fn layer_for(model: &Model) -> usize {
        model.config().layers * 2 / 5
    }

    /// Reads texts, each given as the tokens of its words.
    pub(super) fn read(&self, model: &Model, texts: &[Vec<u32>]) -> Result<Vec<Question>, Error> {
        let states = hidden(model, texts, self.layer)?;
        Ok(states.iter().map(|states| self.question(states)).collect())
    }

    fn question(&self, states: &[Vec<f32>]) -> Question {
        let half = self.mean.len() / 2;
        let image = |state: &[f32], first: usize| {
            let centred: Vec<f32> = (state.iter().zip(&self.mean[first..]))
                .map(|(x, mean)| x - mean)
                .collect();
            let mut image = [0.0; Relation::WIDTH];
            let rows = self.map.chunks_exact(self.mean.len());
            for (coordinate, row) in image.iter_mut().zip(rows) {
                let products = row[first..].iter().zip(&centred).map(|(a, b)| a * b);
                *coordinate = products.sum();
            }
            image
        };
        Question {
            last: states
                .last()
                .map_or([0.0; Relation::WIDTH], |last| image(last, 0)),
            tokens: states.iter().map(|state| image(state, half)).collect(),
        }
    }
}

/// What a map is learnt from: the last token's hidden state, and the mean of those that are not the subject's,
/// `[2 * hidden]`.
pub(super) fn feature(states: &[Vec<f32>], of_subject: &[bool]) -> Vec<f64> {
    let last = states.last().into_iter().flatten().map(|&x| f64::from(x));
    let mut feature: Vec<f64> = last.collect();
    let apart = without_subject(states.len(), of_subject);
    let mut mean = vec![0.0; feature.len()];
    for &token in &apart {
        for (sum, x) in mean.iter_mut().zip(&states[token]) {
            *sum += f64::from(*x) / apart.len() as f64;
        }
    }
    feature.extend(mean);
    feature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_what_the_map_makes_of_its_last_token_and_the_mean_without_the_subject() {
        let reader = RelationReader {
            layer: 0,
            mean: vec![1.0, 0.0, 0.0, 2.0],
            map: vec![1.0, 2.0, 3.0, 4.0, -1.0, 0.5, 0.0, 2.0],
            fit: RelationReader::FIT,
        };
        let states = [vec![1.0, 5.0], vec![9.0, -9.0], vec![3.0, 1.0]];
        for of_subject in [[false, true, false], [false; 3], [true; 3]] {
            let about = reader.question(&states).about(&of_subject);
            let feature = feature(&states, &of_subject);
            let centred = feature.iter().zip(&reader.mean);
            let centred: Vec<f32> = centred.map(|(x, mean)| *x as f32 - mean).collect();
            let rows = reader.map.chunks(4);
            let image = rows.map(|row| row.iter().zip(&centred).map(|(a, b)| a * b).sum());
            assert_eq!(about, Relation::of(&image.collect::<Vec<f32>>()));
        }
        let about = reader.question(&states).about(&[false, true, false]);
        assert_eq!(
            about,
            Relation::of(&[2.0 + 2.0 + 6.0 + 4.0, -2.0 + 0.5 + 2.0])
        );
    }
}
