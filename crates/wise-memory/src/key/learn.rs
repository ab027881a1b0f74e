//! Learns what tells prompts by what they ask for.

use std::ops::Range;

use burn::tensor::Tensor;
use wise_model::{Error, Model};

use super::asked::{Asked, ChosenFit, Fits, choose};
use super::linear::{
    cholesky, dot, orthonormal, rows, solve_lower, solve_upper, start, tensor, times, transposed,
};
use super::reader::{all_words, brain_float, hidden, length, words};
use super::refine::{Images, refine};
use super::relation::{Relation, RelationReader, feature};
use super::{Key, KeyReader, Reading};

/// Directions in which relations differ that a map is made from.
const DIRECTIONS: usize = 2 * Relation::WIDTH;

/// Passes over the subspace of what differs between relations.
const PASSES: usize = 3;

/// What is added to the variance of each coordinate between prompts that ask for the same, as a share of itself: hidden
/// states have a few coordinates a hundred times as large as the others, and a share of the mean would be theirs alone.
const RIDGE: f64 = 0.03;

/// The same as a share of the mean, for coordinates in which no pair differs.
const FLOOR: f64 = 1e-6;

/// Every how manieth prompt is held out to choose the fit.
const HELD_OUT: usize = 10;

/// Prompts that are run together, with what is asked beside them.
const TOGETHER: usize = 4;

/// What was learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct Learnt {
    /// The reader.
    pub relations: RelationReader,
    /// Pairs of prompts of each source, those that ask for the same and those that do not.
    pub pairs: Vec<usize>,
    /// Prompts that were held out to choose the fit.
    pub held_out: usize,
    /// How the fit was chosen; `None` where a source asks nothing else about its subjects: it is
    /// [`RelationReader::FIT`] then.
    pub chosen: Option<ChosenFit>,
}

impl RelationReader {
    /// Learns from several sources, which count the same however long they are; `progress` is told how many pairs are
    /// read, and of how many.
    ///
    /// The fit is chosen on every tenth prompt, with keys of `keys` and a map that is learnt from the others: as small
    /// as lets 2 % of the other questions about the same subject pass. The map that is handed out is learnt from all.
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
        let counts: Vec<usize> = sources.iter().map(|source| pairs(source)).collect();
        let same = |asked: &Asked| !asked.rephrasings.is_empty() || !asked.of_others.is_empty();
        if sources.is_empty() || !sources.iter().all(|source| source.iter().any(same)) {
            let what = "source of pairs of prompts";
            return Err(Error::Empty { what });
        }
        let (mut read, all) = (0, counts.iter().sum());
        let mut learnt = Vec::new();
        for source in sources {
            let mut of_source = Vec::new();
            for asked in source.chunks(TOGETHER) {
                of_source.extend(Pair::all(model, layer, keys, asked)?);
                read += pairs(asked);
                progress(read, all);
            }
            learnt.push(of_source);
        }
        let held_out: Vec<Vec<&Asked>> = sources
            .iter()
            .map(|source| source.iter().skip(HELD_OUT - 1).step_by(HELD_OUT).collect())
            .collect();
        let others = kept(&learnt, |index| index % HELD_OUT != HELD_OUT - 1);
        let lacks_pairs = |source: &Vec<&Pair>| asking_the_same(source).next().is_none();
        let chosen = if held_out.iter().any(Vec::is_empty) || others.iter().any(lacks_pairs) {
            None
        } else {
            let trial = Self::solve(model, layer, &others);
            let reader = keys.clone().with_relations(trial);
            let fits = held_out
                .iter()
                .map(|source| Fits::of(&reader, model, source.iter().copied()));
            choose(&fits.collect::<Result<Vec<_>, _>>()?)
        };
        let mut relations = Self::solve(model, layer, &kept(&learnt, |_| true));
        relations.fit = chosen.map_or(Self::FIT, |chosen| chosen.fit);
        Ok(Learnt {
            relations,
            pairs: counts,
            held_out: held_out.iter().map(Vec::len).sum(),
            chosen,
        })
    }

    fn solve(model: &Model, layer: usize, sources: &[Vec<&Pair>]) -> Self {
        let (mean, scale) = (mean(sources), scale(sources));
        let (apart, else_of_subject) = scatter(model, sources, &mean, &scale);
        let mut map = discriminant(&apart, &else_of_subject);
        for row in &mut map {
            row.iter_mut().zip(&scale).for_each(|(x, by)| *x *= by);
        }
        let (images, width) = (
            images(model, sources, &mean, &map),
            Relation::WIDTH.min(map.len()),
        );
        if images.is_empty() {
            map.truncate(width);
        } else {
            map = combined(&refine(&images, width, model.device()), &map);
        }
        Self {
            layer,
            mean: mean.iter().map(|&x| x as f32).collect(),
            map: map.iter().flatten().map(|&x| brain_float(x)).collect(),
            fit: Self::FIT,
        }
    }
}

/// How many pairs some prompts make with what is asked beside them.
fn pairs(asked: &[Asked]) -> usize {
    asked.iter().map(|asked| asked.texts().count() - 1).sum()
}

/// Two prompts that have what they ask for in common, or their subject, or both.
struct Pair {
    /// What a map is learnt from of each, `[2 * hidden]`.
    features: [Vec<f64>; 2],
    asks_the_same: bool,
}

impl Pair {
    /// The pairs of each prompt.
    fn all(
        model: &Model,
        layer: usize,
        keys: &KeyReader,
        asked: &[Asked],
    ) -> Result<Vec<Vec<Self>>, Error> {
        let texts = all_words(model, asked.iter().flat_map(Asked::texts))?;
        let readings = keys.read_words(model, &texts, |_| false)?;
        let states = hidden(model, &texts, layer)?;
        let (mut pairs, mut first) = (Vec::new(), 0);
        for asked in asked {
            let of_asked = first..first + asked.texts().count();
            first = of_asked.end;
            let subject = words(model, &asked.prompt, asked.subject.clone())?.1;
            pairs.push(Self::of(
                asked,
                subject,
                &texts[of_asked.clone()],
                &readings[of_asked.clone()],
                &states[of_asked],
            ));
        }
        Ok(pairs)
    }

    /// A prompt whose tokens at `subject` name its subject, with each of the texts beside it.
    fn of(
        asked: &Asked,
        subject: Range<usize>,
        texts: &[Vec<u32>],
        readings: &[Reading],
        states: &[Vec<Vec<f32>>],
    ) -> Vec<Self> {
        let key = Key::new(&readings[0], subject, 0);
        let own = feature(&states[0], &key.of_subject(&readings[0]));
        let same_subject = 1 + asked.rephrasings.len();
        let asks_the_same = same_subject + asked.of_others.len();
        let with = |index: usize| {
            let of_subject = if (same_subject..asks_the_same).contains(&index) {
                // The line break in front of a text is not among its states.
                let of_other = between(&texts[0][1..], &texts[index][1..]);
                let tokens = 0..states[index].len();
                tokens.map(|at| of_other.contains(&at)).collect()
            } else {
                key.of_subject(&readings[index])
            };
            Self {
                features: [own.clone(), feature(&states[index], &of_subject)],
                asks_the_same: index < asks_the_same,
            }
        };
        (1..readings.len()).map(with).collect()
    }

    fn difference(&self) -> impl Iterator<Item = f64> {
        let [a, b] = &self.features;
        a.iter().zip(b).map(|(a, b)| a - b)
    }
}

/// What stands in `other` between the beginning and the end that it shares with `text`, its subject if both are put the
/// same way; nothing if it shares neither.
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

/// The pairs of each source's prompts, by their place in it.
fn kept(sources: &[Vec<Vec<Pair>>], keep: impl Fn(usize) -> bool) -> Vec<Vec<&Pair>> {
    let mut kept = Vec::new();
    for source in sources {
        let prompts = source.iter().enumerate().filter(|(index, _)| keep(*index));
        kept.push(prompts.flat_map(|(_, pairs)| pairs).collect());
    }
    kept
}

/// The prompts of a source's pairs that ask for the same.
fn asking_the_same<'a>(source: &'a [&'a Pair]) -> impl Iterator<Item = &'a Vec<f64>> {
    let same = source.iter().filter(|pair| pair.asks_the_same);
    same.flat_map(|pair| &pair.features)
}

/// What makes each half one long in the mean, for each coordinate.
fn scale(sources: &[Vec<&Pair>]) -> Vec<f64> {
    let (mut sums, mut count, mut wide) = ([0.0; 2], 0, 0);
    for feature in sources.iter().flat_map(|source| asking_the_same(source)) {
        let (last, mean) = feature.split_at(feature.len() / 2);
        sums[0] += length(last);
        sums[1] += length(mean);
        (count, wide) = (count + 1, feature.len());
    }
    let halves = sums.map(|sum| f64::from(count) / sum.max(f64::MIN_POSITIVE));
    (0..wide)
        .map(|i| halves[usize::from(i >= wide / 2)])
        .collect()
}

/// Mean of the sources' means.
fn mean(sources: &[Vec<&Pair>]) -> Vec<f64> {
    let mut mean = vec![0.0; sources[0][0].features[0].len()];
    for source in sources {
        let count = asking_the_same(source).count() * sources.len();
        for feature in asking_the_same(source) {
            for (sum, x) in mean.iter_mut().zip(feature) {
                *sum += x / count as f64;
            }
        }
    }
    mean
}

/// Covariances of what two prompts differ in that ask for the same, and that ask for something else about one subject,
/// each `[2 * hidden, 2 * hidden]`. A source that has fewer of the latter than coordinates has the covariance of all
/// its prompts in their place.
fn scatter(
    model: &Model,
    sources: &[Vec<&Pair>],
    mean: &[f64],
    scale: &[f64],
) -> (Tensor<2>, Tensor<2>) {
    let wide = mean.len();
    let covariance = |rows: Vec<f64>| {
        let count = rows.len() / wide;
        let scaled = rows
            .iter()
            .enumerate()
            .map(|(i, x)| (x * scale[i % wide]) as f32);
        let rows = tensor(scaled.collect(), wide, model.device());
        rows.clone().transpose().matmul(rows) / count as f64
    };
    let of_source = |source: &Vec<&Pair>| {
        let differ = |asks_the_same: bool| {
            let pairs = source
                .iter()
                .filter(|pair| pair.asks_the_same == asks_the_same);
            pairs
                .flat_map(|pair| pair.difference())
                .collect::<Vec<f64>>()
        };
        let else_of_subject = differ(false);
        let apart = covariance(differ(true));
        if else_of_subject.len() >= wide * wide {
            // What two differ in varies twice as much as one.
            return (apart, covariance(else_of_subject) / 2.0);
        }
        let centred = asking_the_same(source)
            .flat_map(|feature| feature.iter().zip(mean).map(|(x, m)| x - m));
        (apart, covariance(centred.collect()))
    };
    let mut sources = sources.iter().map(of_source);
    let zeros = Tensor::zeros([wide, wide], model.device());
    let first = sources.next().unwrap_or((zeros.clone(), zeros));
    sources.fold(first, |(a, b), (c, d)| (a + c, b + d))
}

/// What a map makes of each source's pairs; of those sources that have both kinds.
fn images(model: &Model, sources: &[Vec<&Pair>], mean: &[f64], map: &[Vec<f64>]) -> Vec<Images> {
    let tensor = |values| tensor(values, mean.len(), model.device());
    let map = tensor(map.iter().flatten().map(|&x| x as f32).collect()).transpose();
    let of_source = |source: &Vec<&Pair>| {
        let asks_the_same: Vec<bool> = source.iter().map(|pair| pair.asks_the_same).collect();
        if !asks_the_same.contains(&true) || !asks_the_same.contains(&false) {
            return None;
        }
        let side = |side: usize| {
            let features = source
                .iter()
                .map(|pair| pair.features[side].iter().zip(mean));
            let centred = features.flatten().map(|(x, mean)| (x - mean) as f32);
            tensor(centred.collect()).matmul(map.clone())
        };
        Some(Images {
            pairs: [side(0), side(1)],
            asks_the_same,
        })
    };
    sources.iter().filter_map(of_source).collect()
}

/// The rows of `map`, each column of `shares` saying how much of each goes into a new one.
fn combined(shares: &[Vec<f64>], map: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let columns = transposed(map);
    let row = |shares: &Vec<f64>| columns.iter().map(|column| dot(shares, column)).collect();
    transposed(shares).iter().map(row).collect()
}

/// The directions in which `otherwise` varies most for how little `apart` does, as rows.
fn discriminant(apart: &Tensor<2>, otherwise: &Tensor<2>) -> Vec<Vec<f64>> {
    let [wide, _] = apart.dims();
    let mut apart = rows(apart.clone());
    let trace: f64 = (0..wide).map(|i| apart[i][i]).sum();
    let floor = (FLOOR * trace / wide as f64).max(f64::MIN_POSITIVE);
    for (i, row) in apart.iter_mut().enumerate() {
        row[i] += RIDGE * row[i] + floor;
    }
    let lower = cholesky(apart);
    let back = |columns: &[Vec<f64>]| transposed(&solve_upper(&lower, transposed(columns)));
    let mut basis = orthonormal(start(wide, DIRECTIONS.min(wide)));
    for _ in 0..PASSES {
        let image = times(otherwise, &back(&basis));
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
            tensor(rows.collect(), 3, &device)
        };
        let rows = discriminant(&diagonal([10.0, 1.0, 1.0]), &diagonal([10.0, 1.0, 100.0]));
        // The first direction has the most of what others differ in for what pairs do.
        assert!(rows[0][2].powi(2) > 0.99 * length(&rows[0]).powi(2));
        // Together they are as long in a coordinate as pairs are alike in it, but for the ridge.
        for (i, apart) in [10.0, 1.0, 1.0].into_iter().enumerate() {
            let strength = rows.iter().map(|row| row[i] * row[i]).sum::<f64>();
            assert!(
                (strength - 1.0 / (apart * (1.0 + RIDGE))).abs() < 1e-3,
                "{i}: {strength}"
            );
        }
    }
}
