//! Learns what tells prompts by what they ask for.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use wise_model::{Error, Model};

use super::asked::{Asked, ChosenFit, Fits, choose};
use super::linear::{cholesky, orthonormal, solve_lower, solve_upper, start, times, transposed};
use super::reader::{brain_float, length, words};
use super::relation::{Relation, RelationReader, feature, states};
use super::{Key, KeyReader};

/// Passes over the subspace of what differs between relations.
const PASSES: usize = 3;

/// What is added to the variance of each coordinate between prompts that ask for the same, as a share of itself: hidden
/// states have a few coordinates a hundred times as large as the others, and a share of the mean would be theirs alone.
const RIDGE: f64 = 0.1;

/// The same as a share of the mean, for coordinates in which no pair differs.
const FLOOR: f64 = 1e-6;

/// Every how manieth prompt is held out to choose the fit.
const HELD_OUT: usize = 10;

/// Pairs that are run together.
const TOGETHER: usize = 8;

/// What was learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct Learnt {
    /// The reader.
    pub relations: RelationReader,
    /// Pairs of prompts of each source.
    pub pairs: Vec<usize>,
    /// Prompts that were held out to choose the fit.
    pub held_out: usize,
    /// How the fit was chosen; `None` where a source asks nothing else about its subjects: it is
    /// [`RelationReader::FIT`] then.
    pub chosen: Option<ChosenFit>,
}

impl RelationReader {
    /// Learns from several sources, which count the same however long they are; `progress` is told how many texts are
    /// read, and of how many.
    ///
    /// The fit is chosen on every tenth prompt, with keys of `keys` and a map that is learnt from the others: as small
    /// as lets 3 % of the other questions about the same subject pass. The map that is handed out is learnt from all.
    ///
    /// # Errors
    /// If a source has no pairs, or the model cannot run them.
    pub fn learn(
        model: &Model,
        layer: usize,
        keys: &KeyReader,
        sources: &[Vec<Asked>],
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Learnt, Error> {
        let pairs: Vec<Vec<Pair<'_>>> = sources.iter().map(|source| Pair::all(source)).collect();
        if pairs.is_empty() || pairs.iter().any(Vec::is_empty) {
            let what = "source of pairs of prompts";
            return Err(Error::Empty { what });
        }
        let texts = 2 * pairs.iter().map(Vec::len).sum::<usize>();
        let (mut read, mut states) = (0, Vec::new());
        for source in &pairs {
            let mut of_source = Vec::new();
            for pairs in source.chunks(TOGETHER) {
                of_source.extend(features(model, layer, keys, pairs)?);
                read += 2 * pairs.len();
                progress(read, texts);
            }
            states.push(of_source);
        }
        let held_out: Vec<Vec<&Asked>> = sources
            .iter()
            .map(|source| source.iter().skip(HELD_OUT - 1).step_by(HELD_OUT).collect())
            .collect();
        let chosen = if held_out.iter().any(Vec::is_empty) {
            None
        } else {
            let others = without_held_out(&pairs, &states);
            let trial = Self::solve(model, layer, others);
            let reader = keys.clone().with_relations(trial);
            let fits = held_out
                .iter()
                .map(|source| Fits::of(&reader, model, source.iter().copied()));
            choose(&fits.collect::<Result<Vec<_>, _>>()?)
        };
        let mut relations = Self::solve(model, layer, states);
        relations.fit = chosen.map_or(Self::FIT, |chosen| chosen.fit);
        Ok(Learnt {
            relations,
            pairs: pairs.iter().map(Vec::len).collect(),
            held_out: held_out.iter().map(Vec::len).sum(),
            chosen,
        })
    }

    /// From the states of each source's pairs, one behind the other.
    fn solve(model: &Model, layer: usize, mut states: Vec<Vec<Vec<f64>>>) -> Self {
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
        Self {
            layer,
            mean: (0..mean.len()).map(unscaled).collect(),
            map: map.into_iter().flatten().map(brain_float).collect(),
            fit: Self::FIT,
        }
    }
}

/// Two prompts that ask for the same.
struct Pair<'a> {
    texts: [&'a String; 2],
    /// Of the first; of the second as well unless that is about another.
    subject: &'a Option<Range<usize>>,
    same_subject: bool,
    held_out: bool,
}

impl<'a> Pair<'a> {
    fn all(source: &'a [Asked]) -> Vec<Self> {
        let of_prompt = |(index, asked): (usize, &'a Asked)| {
            let pair = move |other, same_subject| Self {
                texts: [&asked.prompt, other],
                subject: &asked.subject,
                same_subject,
                held_out: index % HELD_OUT == HELD_OUT - 1,
            };
            let rephrasings = asked.rephrasings.iter().map(move |other| pair(other, true));
            let of_others = asked.of_others.iter().map(move |other| pair(other, false));
            rephrasings.chain(of_others)
        };
        source.iter().enumerate().flat_map(of_prompt).collect()
    }
}

/// What a map is learnt from of both texts of each pair, one behind the other.
fn features(
    model: &Model,
    layer: usize,
    keys: &KeyReader,
    pairs: &[Pair<'_>],
) -> Result<Vec<Vec<f64>>, Error> {
    let texts: Vec<String> = (pairs.iter().flat_map(|pair| pair.texts).cloned()).collect();
    let readings = keys.read_texts(model, &texts, |_| false)?;
    let states = states(model, layer, &texts)?;
    let both = pairs
        .iter()
        .zip(readings.chunks_exact(2).zip(states.chunks_exact(2)));
    let mut features = Vec::new();
    for (pair, (readings, states)) in both {
        let subject = pair.subject.clone().unwrap_or(0..pair.texts[0].len());
        let key = Key::new(&readings[0], words(model, pair.texts[0], subject)?.1);
        features.push(feature(&states[0], &key.of_subject(&readings[0])));
        let of_subject = if pair.same_subject {
            key.of_subject(&readings[1])
        } else {
            let of_other = subject_of_other(model, pair.texts)?;
            (0..states[1].len())
                .map(|at| of_other.contains(&at))
                .collect()
        };
        features.push(feature(&states[1], &of_subject));
    }
    Ok(features)
}

/// The tokens of the second text between those that it begins and ends with as the first does: its subject, if both are
/// put the same way.
fn subject_of_other(model: &Model, texts: [&String; 2]) -> Result<Range<usize>, Error> {
    let [text, other] = texts.map(|text| words(model, text, 0..0));
    // The line break in front of a text is not among its states.
    let without_break = |(tokens, _): (Vec<u32>, _)| tokens.into_iter().skip(1).collect::<Vec<_>>();
    Ok(between(&without_break(text?), &without_break(other?)))
}

/// What stands in `other` between the beginning and the end that it shares with `text`; nothing if it shares neither.
fn between<T: PartialEq>(text: &[T], other: &[T]) -> Range<usize> {
    let same =
        |pairs: &mut dyn Iterator<Item = (&T, &T)>| pairs.take_while(|(a, b)| a == b).count();
    let first = same(&mut text.iter().zip(other));
    let rest = text.len().min(other.len()) - first;
    let last = same(&mut text.iter().rev().zip(other.iter().rev()).take(rest));
    if first + last == 0 {
        return 0..0;
    }
    first..other.len() - last
}

/// The states of the pairs that a map may be learnt from when it is judged on the others.
fn without_held_out(pairs: &[Vec<Pair<'_>>], states: &[Vec<Vec<f64>>]) -> Vec<Vec<Vec<f64>>> {
    let of_source = |(pairs, states): (&Vec<Pair<'_>>, &Vec<Vec<f64>>)| {
        let states = pairs.iter().zip(states.chunks_exact(2));
        let learnt = states.filter(|(pair, _)| !pair.held_out);
        learnt.flat_map(|(_, states)| states.to_vec()).collect()
    };
    pairs.iter().zip(states).map(of_source).collect()
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
    let floor = (FLOOR * trace / wide as f64).max(f64::MIN_POSITIVE);
    for (i, row) in apart.iter_mut().enumerate() {
        row[i] += RIDGE * row[i] + floor;
    }
    let lower = cholesky(apart);
    let back = |columns: &[Vec<f64>]| transposed(&solve_upper(&lower, transposed(columns)));
    let mut basis = orthonormal(start(wide, Relation::WIDTH.min(wide)));
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
    fn what_stands_between_a_common_beginning_and_end_is_the_other_subject() {
        let between = |text: &str, other: &str| {
            let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
            between(&words(text), &words(other))
        };
        assert_eq!(between("where is Rome now", "where is New York now"), 2..4);
        assert_eq!(between("where is Rome", "where is Oslo"), 2..3);
        assert_eq!(between("Rome lies in", "Oslo lies in"), 0..1);
        assert_eq!(between("who is it", "who is it"), 3..3);
        assert_eq!(between("it is", "it is it is"), 2..4);
        assert_eq!(between("Rome lies in", "where is Oslo"), 0..0);
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
        // Together they are as long in a coordinate as pairs are alike in it; the ridge is a tenth of that.
        for (i, apart) in [10.0, 1.0, 1.0].into_iter().enumerate() {
            let strength = rows.iter().map(|row| row[i] * row[i]).sum::<f64>();
            assert!(
                (strength - 1.0 / (apart * 1.1)).abs() < 1e-3,
                "{i}: {strength}"
            );
        }
    }
}
