//! Steps of gradient descent: on the CPU one pass over the weights, elsewhere the backend's operations.

use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::on_cpu::{floats, is_cpu, tensor};
use crate::ops::clamp_around;

/// Weights that a thread steps at a time.
const CHUNK: usize = 1 << 14;

/// Added to the root of Adam's mean square.
const EPSILON: f64 = 1e-8;

/// Root mean square under which a gradient has no direction: the squares of smaller numbers are none in f32.
const LEAST: f64 = 1e-18;

/// How one step is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Learning rate.
    pub rate: f64,
    /// Weight decay: the gradient of `decay * weight^2 / 2` comes on top.
    pub decay: f64,
    /// Whether weights decay outside the mask too.
    pub decay_outside_mask: bool,
    /// No weight moves further than this from the same one of the centre.
    pub limit: Option<f64>,
}

/// One step of stochastic gradient descent inside a subspace: `w - rate * (mask * gradient + decay * w)`, the decay
/// inside the mask too unless [`Step::decay_outside_mask`], put back to within [`Step::limit`] of `centre`.
///
/// All tensors are `[out, in]`; `mask` is 0 or 1.
pub fn masked_sgd_step(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    mask: &Tensor<2>,
    centre: &Tensor<2>,
    step: &Step,
) -> Tensor<2> {
    if is_cpu(&weight.device()) {
        step_on_cpu(weight, gradient, mask, centre, step)
    } else {
        step_on_device(weight, gradient, mask, centre, step)
    }
}

fn step_on_cpu(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    mask: &Tensor<2>,
    centre: &Tensor<2>,
    step: &Step,
) -> Tensor<2> {
    let (shape, device) = (weight.dims(), weight.device());
    let [mut weight, gradient] = [weight, gradient].map(floats);
    let [mask, centre] = [mask, centre].map(|x| floats(x.clone()));
    let (rate, decay) = (step.rate as f32, step.decay as f32);
    let outside = if step.decay_outside_mask { decay } else { 0.0 };
    let limit = step.limit.unwrap_or(f64::INFINITY) as f32;
    let one = |(((w, &g), &inside), &centre): (((&mut f32, &f32), &f32), &f32)| {
        let decay = outside + (decay - outside) * inside;
        let next = *w - (g * inside + *w * decay) * rate;
        *w = (next - centre).clamp(-limit, limit) + centre;
    };
    let chunks = (weight.par_chunks_mut(CHUNK), gradient.par_chunks(CHUNK));
    let places = (mask.par_chunks(CHUNK), centre.par_chunks(CHUNK));
    chunks
        .into_par_iter()
        .zip(places)
        .for_each(|((weight, gradient), (mask, centre))| {
            let all = weight.iter_mut().zip(gradient).zip(mask).zip(centre);
            all.for_each(one);
        });
    tensor(weight, shape, &device)
}

fn step_on_device(
    weight: Tensor<2>,
    gradient: Tensor<2>,
    mask: &Tensor<2>,
    centre: &Tensor<2>,
    step: &Step,
) -> Tensor<2> {
    let direction = if step.decay_outside_mask {
        gradient * mask.clone() + weight.clone() * step.decay
    } else {
        (gradient + weight.clone() * step.decay) * mask.clone()
    };
    let next = weight - direction * step.rate;
    match step.limit {
        Some(limit) => clamp_around(next, centre, limit),
        None => next,
    }
}

/// The Adam optimiser (Kingma and Ba, ICLR 2015, algorithm 1): turns the gradients of one parameter into the
/// directions to go against, for a rate of 1.
#[derive(Debug, Clone)]
pub struct Adam {
    betas: [f64; 2],
    steps: i32,
    /// Running means of the gradient and of its square.
    moments: Option<[Tensor<2>; 2]>,
}

impl Adam {
    /// `betas` are the shares of the running means that each step keeps.
    pub fn new(betas: [f64; 2]) -> Self {
        Self {
            betas,
            steps: 0,
            moments: None,
        }
    }

    /// The direction of the next step; all gradients have one shape.
    pub fn direction(&mut self, gradient: Tensor<2>) -> Tensor<2> {
        self.steps += 1;
        let moments =
            (self.moments.take()).unwrap_or_else(|| [gradient.zeros_like(), gradient.zeros_like()]);
        // The means begin at 0.
        let corrections = self.betas.map(|beta| 1.0 - beta.powi(self.steps));
        let (direction, moments) = if is_cpu(&gradient.device()) {
            adam_on_cpu(gradient, moments, self.betas, corrections)
        } else {
            adam_on_device(gradient, moments, self.betas, corrections)
        };
        self.moments = Some(moments);
        direction
    }
}

fn adam_on_cpu(
    gradient: Tensor<2>,
    moments: [Tensor<2>; 2],
    betas: [f64; 2],
    corrections: [f64; 2],
) -> (Tensor<2>, [Tensor<2>; 2]) {
    let (shape, device) = (gradient.dims(), gradient.device());
    let mut gradient = floats(gradient);
    let [mut mean, mut square] = moments.map(floats);
    let [first, second] = betas.map(|beta| beta as f32);
    let [of_mean, of_square] = corrections.map(|correction| correction as f32);
    let one = |((g, m), v): ((&mut f32, &mut f32), &mut f32)| {
        *m = *m * first + *g * (1.0 - first);
        *v = *v * second + *g * *g * (1.0 - second);
        *g = (*m / of_mean) / ((*v / of_square).sqrt() + EPSILON as f32);
    };
    let moments = (mean.par_chunks_mut(CHUNK), square.par_chunks_mut(CHUNK));
    gradient
        .par_chunks_mut(CHUNK)
        .zip(moments)
        .for_each(|(gradient, (mean, square))| {
            gradient.iter_mut().zip(mean).zip(square).for_each(one);
        });
    let tensor = |values| tensor(values, shape, &device);
    (tensor(gradient), [mean, square].map(tensor))
}

fn adam_on_device(
    gradient: Tensor<2>,
    [mean, square]: [Tensor<2>; 2],
    [first, second]: [f64; 2],
    [of_mean, of_square]: [f64; 2],
) -> (Tensor<2>, [Tensor<2>; 2]) {
    let mean = mean * first + gradient.clone() * (1.0 - first);
    let square = square * second + gradient.square() * (1.0 - second);
    let root = (square.clone() / of_square).sqrt() + EPSILON;
    (mean.clone() / of_mean / root, [mean, square])
}

/// Descent in steps of one length: the running mean of gradients that are each scaled to a root mean square of 1 inside the
/// mask, or the momentum method (Polyak, 1964) on normalised gradients.
#[derive(Debug, Clone)]
pub struct EqualSteps {
    momentum: f64,
    mean: Option<Tensor<2>>,
}

impl EqualSteps {
    /// `momentum` is the share of the running mean that each step keeps.
    pub fn new(momentum: f64) -> Self {
        Self {
            momentum,
            mean: None,
        }
    }

    /// The direction of the next step for a rate of 1, 0 outside `mask` (0 or 1); all are `[out, in]`.
    pub fn direction(&mut self, gradient: Tensor<2>, mask: &Tensor<2>) -> Tensor<2> {
        let gradient = gradient * mask.clone();
        let count = mask.clone().sum().clamp_min(1.0);
        let root = (gradient.clone().square().sum() / count).sqrt();
        let unit = gradient / root.clamp_min(LEAST).unsqueeze();
        let mean = match self.mean.take() {
            Some(mean) => mean * self.momentum + unit * (1.0 - self.momentum),
            None => unit,
        };
        self.mean = Some(mean.clone());
        mean
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::DeviceName;

    fn row(values: &[f32]) -> Tensor<2> {
        let device = DeviceName::Cpu.open().unwrap();
        tensor(values.to_vec(), [1, values.len()], &device)
    }

    const PLAIN: Step = Step {
        rate: 1.0,
        decay: 0.25,
        decay_outside_mask: false,
        limit: None,
    };

    #[test]
    fn decay_stays_inside_the_mask_unless_told_otherwise() {
        let (ones, mask) = (row(&[1.0, 1.0]), row(&[1.0, 0.0]));
        let stepped = |step: Step| {
            let next = masked_sgd_step(ones.clone(), row(&[0.5, 0.5]), &mask, &ones, &step);
            floats(next)
        };
        assert_eq!(stepped(PLAIN), [0.25, 1.0]);
        let outside = Step {
            decay_outside_mask: true,
            ..PLAIN
        };
        assert_eq!(stepped(outside), [0.25, 0.75]);
        let limited = Step {
            limit: Some(0.5),
            ..PLAIN
        };
        assert_eq!(stepped(limited), [0.5, 1.0]);
    }

    #[test]
    fn the_direction_is_the_sign_of_a_constant_gradient() {
        let mut adam = Adam::new([0.9, 0.999]);
        for _ in 0..3 {
            let direction = floats(adam.direction(row(&[0.5, -2.0])));
            assert!((direction[0] - 1.0).abs() < 1e-5 && (direction[1] + 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn steps_have_one_length_inside_the_mask() {
        let mask = row(&[1.0, 1.0, 0.0]);
        let mut steps = EqualSteps::new(0.5);
        let mut next = |gradient: &[f32]| floats(steps.direction(row(gradient), &mask));
        let root = 12.5_f32.sqrt();
        let first = [3.0 / root, 4.0 / root, 0.0];
        assert_eq!(next(&[3.0, 4.0, 9.0]), first);
        let second = next(&[3e-9, 4e-9, 9.0]);
        assert!((second[0] - first[0]).abs() < 1e-6 && (second[1] - first[1]).abs() < 1e-6);
        // No gradient: half of the momentum is left.
        let third = next(&[0.0, 0.0, 9.0]);
        assert!((third[0] - first[0] / 2.0).abs() < 1e-6, "{third:?}");
        let none = EqualSteps::new(0.5).direction(row(&[1.0]), &row(&[0.0]));
        assert_eq!(floats(none), [0.0]);
    }

    fn assert_close(got: Tensor<2>, expected: Tensor<2>) {
        for (got, expected) in floats(got).into_iter().zip(floats(expected)) {
            let error = (got - expected).abs();
            assert!(error <= 1e-5 * (1.0 + expected.abs()), "{got} {expected}");
        }
    }

    fn some() -> impl Strategy<Value = Tensor<2>> {
        prop::collection::vec(-2.0_f32..2.0, 9).prop_map(|values| row(&values))
    }

    proptest! {
        #[test]
        fn the_backend_operations_do_what_the_passes_on_the_cpu_do(
            weight in some(),
            gradient in some(),
            centre in some(),
            mask in prop::collection::vec(0..2_u8, 9),
            decay_outside_mask: bool,
            limit in prop::option::of(0.0..1.0_f64),
        ) {
            let mask = row(&mask.into_iter().map(f32::from).collect::<Vec<_>>());
            let step = Step { rate: 0.3, decay: 0.1, decay_outside_mask, limit };
            let of = |f: fn(Tensor<2>, Tensor<2>, &Tensor<2>, &Tensor<2>, &Step) -> Tensor<2>| {
                f(weight.clone(), gradient.clone(), &mask, &centre, &step)
            };
            assert_close(of(step_on_cpu), of(step_on_device));

            let moments = || [weight.clone(), centre.clone().square()];
            let (betas, corrections) = ([0.5, 0.7], [0.75, 0.51]);
            let (got, [mean, square]) = adam_on_cpu(gradient.clone(), moments(), betas, corrections);
            let (expected, means) = adam_on_device(gradient, moments(), betas, corrections);
            assert_close(got, expected);
            let [expected_mean, expected_square] = means;
            assert_close(mean, expected_mean);
            assert_close(square, expected_square);
        }
    }
}
