//! What a prompt asks for, apart from its subject and its words.

use wise_model::{Error, Model};

use super::reader::{hidden, words};

/// Coordinates.
pub(super) const WIDTH: usize = 32;

/// The direction in which a prompt's relation lies.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Relation([i8; WIDTH]);

impl Relation {
    /// Bytes of one.
    pub(super) const BYTES: usize = WIDTH;

    fn of(coordinates: &[f32]) -> Self {
        let largest = coordinates
            .iter()
            .fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
        let coordinate = |i| {
            coordinates
                .get(i)
                .map_or(0.0, |x: &f32| x / largest * 127.0)
        };
        Self(std::array::from_fn(|i| coordinate(i).round() as i8))
    }

    pub(super) fn cosine(&self, other: &Self) -> f32 {
        let product = |a: &Self, b: &Self| -> i32 {
            let pairs = a.0.iter().zip(&b.0);
            pairs.map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
        };
        let squares = |a: &Self| product(a, a).max(1) as f32;
        product(self, other) as f32 / (squares(self) * squares(other)).sqrt()
    }

    pub(super) fn to_bytes(&self) -> [u8; WIDTH] {
        self.0.map(|x| x as u8)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        Self(std::array::from_fn(|i| {
            bytes.get(i).copied().unwrap_or(0) as i8
        }))
    }
}

/// Reads what prompts ask for.
///
/// A linear map, learnt from pairs of prompts that ask for the same in other words or about another subject. It takes
/// a prompt's hidden states, the last token's beside the mean of all, to the directions in which prompts differ most
/// for how little such pairs do (Fisher's linear discriminant, with pairs in the place of classes).
#[derive(Debug, Clone, PartialEq)]
pub struct RelationReader {
    /// Layer whose hidden states it takes, counted from 0.
    pub layer: usize,
    /// Mean of what it takes, `[2 * hidden]`.
    pub mean: Vec<f32>,
    /// The map, `[at most 32, 2 * hidden]` row by row; each a brain float, so that two bytes hold it.
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

    pub(super) fn read<'a>(
        &self,
        model: &Model,
        texts: impl IntoIterator<Item = &'a String>,
    ) -> Result<Vec<Relation>, Error> {
        let features = features(model, self.layer, texts)?;
        Ok(features.iter().map(|state| self.relation(state)).collect())
    }

    fn relation(&self, state: &[f64]) -> Relation {
        let centred: Vec<f32> = state
            .iter()
            .zip(&self.mean)
            .map(|(x, m)| *x as f32 - m)
            .collect();
        let rows = self.map.chunks_exact(self.mean.len());
        let coordinates: Vec<f32> = rows
            .map(|row| row.iter().zip(&centred).map(|(a, b)| a * b).sum())
            .collect();
        Relation::of(&coordinates)
    }
}

/// Of each text the last token's hidden state and the mean of all, `[2 * hidden]`.
pub(super) fn features<'a>(
    model: &Model,
    layer: usize,
    texts: impl IntoIterator<Item = &'a String>,
) -> Result<Vec<Vec<f64>>, Error> {
    let texts = texts.into_iter().map(|text| words(model, text, 0..0));
    let texts: Vec<Vec<u32>> = texts
        .map(|read| read.map(|(tokens, _)| tokens))
        .collect::<Result<_, _>>()?;
    let feature = |states: Vec<Vec<f32>>| {
        let last = states.last().into_iter().flatten().map(|&x| f64::from(x));
        let mut feature: Vec<f64> = last.collect();
        let mut mean = vec![0.0; feature.len()];
        for state in &states {
            for (sum, x) in mean.iter_mut().zip(state) {
                *sum += f64::from(*x) / states.len() as f64;
            }
        }
        feature.extend(mean);
        feature
    };
    Ok(hidden(model, &texts, layer)?
        .into_iter()
        .map(feature)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_has_no_length_and_keeps_its_cosines_as_bytes() {
        let (a, b) = (
            Relation::of(&[3.0, 4.0, 0.0]),
            Relation::of(&[0.0, 0.5, 0.0]),
        );
        assert!((a.cosine(&b) - 0.8).abs() < 0.01);
        assert!((a.cosine(&a) - 1.0).abs() < 1e-6);
        assert_eq!(Relation::from_bytes(&a.to_bytes()), a);
        assert_eq!(Relation::of(&[]).cosine(&a), 0.0);
    }
}
