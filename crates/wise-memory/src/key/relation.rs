//! What a prompt asks for, apart from its subject and its words.

use burn::tensor::{Tensor, TensorData};
use wise_model::{Error, Model};

use super::linear::{cholesky, orthonormal, solve_lower, solve_upper, start, times, transposed};
use super::reader::{brain_float, hidden, length, words};

/// Coordinates.
pub(super) const WIDTH: usize = 32;

/// Passes over the subspace of what differs between relations.
const PASSES: usize = 3;

/// What is added to each variance between prompts that ask for the same, as a share of their mean.
const RIDGE: f64 = 0.03;

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
}

impl RelationReader {
    /// The layer it is learnt at unless one is named.
    pub fn layer_for(model: &Model) -> usize {
        model.config().layers * 2 / 5
    }

    /// Learns from several sources, which count the same however long they are; `progress` is told how many texts are
    /// read, and of how many.
    ///
    /// # Errors
    /// If a source has no pairs, or the model cannot run them.
    pub fn learn(
        model: &Model,
        layer: usize,
        sources: &[Vec<[String; 2]>],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, Error> {
        if sources.is_empty() || sources.iter().any(Vec::is_empty) {
            let what = "source of pairs of prompts";
            return Err(Error::Empty { what });
        }
        let texts = 2 * sources.iter().map(Vec::len).sum::<usize>();
        let (mut read, mut states) = (0, Vec::new());
        for source in sources {
            let mut of_source = Vec::new();
            for pairs in source.chunks(TOGETHER) {
                of_source.extend(features(model, layer, pairs.iter().flatten())?);
                read += 2 * pairs.len();
                progress(read, texts);
            }
            states.push(of_source);
        }
        let halves = halves(&states);
        for state in states.iter_mut().flatten() {
            scale(state, halves);
        }
        let mean = mean(&states);
        let (apart, all) = scatter(model, &states, &mean);
        let mut map = discriminant(&apart, &all);
        for row in &mut map {
            scale(row, halves);
        }
        let half = mean.len() / 2;
        let unscaled = |i: usize| (mean[i] / halves[usize::from(i >= half)]) as f32;
        Ok(Self {
            layer,
            mean: (0..mean.len()).map(unscaled).collect(),
            map: map.into_iter().flatten().map(brain_float).collect(),
        })
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

/// Pairs that are run together.
const TOGETHER: usize = 8;

/// Of each text the last token's hidden state and the mean of all, `[2 * hidden]`.
fn features<'a>(
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

/// What makes each half one long in the mean.
fn halves(states: &[Vec<Vec<f64>>]) -> [f64; 2] {
    let (mut sums, mut count) = ([0.0; 2], 0);
    for state in states.iter().flatten() {
        let (last, mean) = state.split_at(state.len() / 2);
        sums[0] += length(last);
        sums[1] += length(mean);
        count += 1;
    }
    sums.map(|sum| f64::from(count) / sum.max(f64::MIN_POSITIVE))
}

fn scale(state: &mut [f64], [last, mean]: [f64; 2]) {
    let half = state.len() / 2;
    for (i, x) in state.iter_mut().enumerate() {
        *x *= if i < half { last } else { mean };
    }
}

/// Mean of the sources' means.
fn mean(states: &[Vec<Vec<f64>>]) -> Vec<f64> {
    let mut mean = vec![0.0; states[0][0].len()];
    for source in states {
        for state in source {
            for (sum, x) in mean.iter_mut().zip(state) {
                *sum += x / (source.len() * states.len()) as f64;
            }
        }
    }
    mean
}

/// Covariance of what the two of a pair differ in, and of all, each `[2 * hidden, 2 * hidden]`.
fn scatter(model: &Model, states: &[Vec<Vec<f64>>], mean: &[f64]) -> (Tensor<2>, Tensor<2>) {
    let wide = mean.len();
    let covariance = |rows: Vec<f32>| {
        let count = rows.len() / wide;
        let rows = TensorData::new(rows, [count, wide]);
        let rows = Tensor::<2>::from_data(rows, model.device());
        rows.clone().transpose().matmul(rows) / count as f64
    };
    let of_source = |source: &Vec<Vec<f64>>| {
        let differ = source
            .chunks_exact(2)
            .flat_map(|pair| pair[0].iter().zip(&pair[1]).map(|(a, b)| (a - b) as f32));
        let centred = source
            .iter()
            .flat_map(|state| state.iter().zip(mean).map(|(x, m)| (x - m) as f32));
        (covariance(differ.collect()), covariance(centred.collect()))
    };
    let mut sources = states.iter().map(of_source);
    let zeros = Tensor::zeros([wide, wide], model.device());
    let first = sources.next().unwrap_or((zeros.clone(), zeros));
    sources.fold(first, |(a, b), (c, d)| (a + c, b + d))
}

/// The directions in which `all` varies most for how little `apart` does, as rows.
fn discriminant(apart: &Tensor<2>, all: &Tensor<2>) -> Vec<Vec<f64>> {
    let [wide, _] = apart.dims();
    let values: Vec<f64> = apart.to_data().iter::<f32>().map(f64::from).collect();
    let mut apart: Vec<Vec<f64>> = values.chunks(wide).map(<[f64]>::to_vec).collect();
    let trace: f64 = (0..wide).map(|i| apart[i][i]).sum();
    for (i, row) in apart.iter_mut().enumerate() {
        row[i] += (RIDGE * trace / wide as f64).max(f64::MIN_POSITIVE);
    }
    let lower = cholesky(apart);
    let back = |columns: &[Vec<f64>]| transposed(&solve_upper(&lower, transposed(columns)));
    let mut basis = orthonormal(start(wide, WIDTH.min(wide)));
    for _ in 0..PASSES {
        let image = times(all, &back(&basis));
        basis = orthonormal(transposed(&solve_lower(&lower, transposed(&image))));
    }
    back(&basis)
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

    #[test]
    fn the_discriminant_looks_where_pairs_agree_and_others_do_not() {
        let device = wise_model::DeviceName::Cpu.open().unwrap();
        let diagonal = |values: [f32; 3]| {
            let rows = (0..9).map(|i| if i % 4 == 0 { values[i / 4] } else { 0.0 });
            let data = TensorData::new(rows.collect::<Vec<f32>>(), [3, 3]);
            Tensor::<2>::from_data(data, &device)
        };
        let rows = discriminant(&diagonal([10.0, 1.0, 1.0]), &diagonal([10.0, 1.0, 100.0]));
        // The first direction has the most of what others differ in for what pairs do.
        assert!(rows[0][2].powi(2) > 0.99 * length(&rows[0]).powi(2));
        // Together they are as long in a coordinate as pairs are alike in it; the ridge is 0.03 of the mean, 4.
        for (i, apart) in [10.0, 1.0, 1.0].into_iter().enumerate() {
            let strength = rows.iter().map(|row| row[i] * row[i]).sum::<f64>();
            assert!(
                (strength - 1.0 / (apart + 0.12)).abs() < 1e-3,
                "{i}: {strength}"
            );
        }
    }
}
