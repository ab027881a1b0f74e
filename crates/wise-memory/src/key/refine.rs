//! From directions in which questions differ to coordinates that tell them apart.

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Device, Tensor};
use wise_tensor::Adam;

use super::linear::{rows, tensor};

/// Cosine at which two prompts ask for the same as likely as not.
const EVEN: f64 = 0.4;

/// Log-odds that a cosine larger by 1 is worth.
const STEEPNESS: f64 = 10.0;

/// What it costs to ask for something else and be taken for the same, where the contrary costs 1.
const MISTAKEN: f32 = 2.0;

/// What a coordinate's squared distance from where it began costs.
const DRIFT: f64 = 0.003;

/// Added to products of squared lengths: an image of length 0 is like nothing.
const NOTHING: f64 = 1e-12;

const STEPS: usize = 100;

const RATE: f64 = 3e-3;

const BETAS: [f64; 2] = [0.9, 0.999];

/// Pairs of images, `[pairs, width]` each, some of which ask for the same.
pub(super) struct Images {
    pub(super) pairs: [Tensor<2>; 2],
    pub(super) asks_the_same: Vec<bool>,
}

impl Images {
    /// 1 where both ask for the same, -1 elsewhere, `[pairs, 1]`.
    fn signs(&self, device: &Device) -> Tensor<2> {
        let sign = |&same: &bool| if same { 1.0 } else { -1.0 };
        tensor(self.asks_the_same.iter().map(sign).collect(), 1, device)
    }

    /// What each pair counts, `[pairs, 1]`: those that ask for the same 1 together, the others [`MISTAKEN`].
    fn weights(&self, device: &Device) -> Tensor<2> {
        let all = self.asks_the_same.len();
        let same = self.asks_the_same.iter().filter(|&&same| same).count();
        let weights = [
            MISTAKEN / (all - same).max(1) as f32,
            1.0 / same.max(1) as f32,
        ];
        let weight = |&same: &bool| weights[usize::from(same)];
        tensor(self.asks_the_same.iter().map(weight).collect(), 1, device)
    }
}

/// What takes images to `width` coordinates, `[theirs, width]`, so that two are alike if and only if they ask for the
/// same: logistic regression on their cosine that begins with the first coordinates as they are and does not go far.
/// Sources count the same.
pub(super) fn refine(sources: &[Images], width: usize, device: &Device) -> Vec<Vec<f64>> {
    let [a, b] = [0, 1].map(|side| {
        let of_side = sources.iter().map(|source| source.pairs[side].clone());
        Tensor::cat(of_side.collect(), 0)
    });
    let of_pairs = |of: fn(&Images, &Device) -> Tensor<2>| {
        Tensor::cat(sources.iter().map(|source| of(source, device)).collect(), 0)
    };
    let (signs, weights) = (of_pairs(Images::signs), of_pairs(Images::weights));
    let weights = weights / sources.len() as f64;
    let [_, theirs] = a.dims();
    let start = Tensor::<2>::eye(theirs, device).narrow(1, 0, width);
    let (mut map, mut adam) = (start.clone(), Adam::new(BETAS));
    for _ in 0..STEPS {
        let tracked = map.clone().autodiff().require_grad();
        let [a, b] = [&a, &b].map(|images| images.clone().autodiff().matmul(tracked.clone()));
        let odds = (cosines(a, b) - EVEN) * STEEPNESS;
        let likely = log_sigmoid(odds * signs.clone().autodiff());
        let moved = (tracked.clone() - start.clone().autodiff()).square().sum();
        let loss = moved * DRIFT - (likely * weights.clone().autodiff()).sum();
        if let Some(gradient) = tracked.grad_remove(&mut loss.backward()) {
            map = map - adam.direction(gradient) * RATE;
        }
    }
    rows(map)
}

/// The cosine of each row with its counterpart, `[rows, 1]`.
fn cosines(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    let [of_a, of_b] = [&a, &b].map(|x| x.clone().square().sum_dim(1));
    (a * b).sum_dim(1) / (of_a * of_b + NOTHING).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 4;

    /// A number between -1 and 1, as if by chance.
    fn chance(seed: usize) -> f32 {
        let hash = (seed as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (hash >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Pairs that ask for the same agree in the first two coordinates, all differ in the others.
    fn images(pairs: usize, device: &Device) -> Images {
        let asks_the_same: Vec<bool> = (0..pairs).map(|pair| pair % 3 == 0).collect();
        let side = |side: usize| {
            let coordinate = |(pair, at): (usize, usize)| {
                let of_both = at < 2 && asks_the_same[pair];
                chance((pair * 2 + if of_both { 0 } else { side }) * WIDTH + at)
            };
            let places = (0..pairs).flat_map(|pair| (0..WIDTH).map(move |at| (pair, at)));
            tensor(places.map(coordinate).collect(), WIDTH, device)
        };
        Images {
            pairs: [side(0), side(1)],
            asks_the_same,
        }
    }

    #[test]
    fn what_tells_pairs_apart_grows_and_the_rest_shrinks() {
        let device = wise_tensor::DeviceName::Cpu.open().unwrap();
        let map = refine(
            &[images(300, &device), images(90, &device)],
            WIDTH - 1,
            &device,
        );
        for (i, row) in map.iter().enumerate() {
            for (j, x) in row.iter().enumerate() {
                match (i == j, i < 2) {
                    (true, true) => assert!(*x > 1.05, "{i}: {x}"),
                    (true, false) => assert!(*x < 0.95, "{i}: {x}"),
                    (false, _) => assert!(x.abs() < 0.3, "{i} {j}: {x}"),
                }
            }
        }
    }
}
