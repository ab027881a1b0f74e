//! The tensor operations that editing is made of.

use burn::tensor::{Device, Tensor, TensorData};
use wise_tensor::{
    Adam, EqualSteps, Precision, Step, label_loss, masked_sgd_step, mean_of_positive, product,
    row_norms,
};

use crate::outcome::{Outcome, relative};
use crate::{Tolerance, within};

/// Relative difference of single operations.
const TOLERANCE: f64 = 1e-4;

/// Of a product with a frozen weight.
const PRODUCT: Tolerance = [1e-4, 1e-2, 2e-3];

/// Numbers in -1 to 1, the same each time.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        // Knuth's linear congruential generator.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn matrix(device: &Device, [rows, columns]: [usize; 2], seed: u64) -> Tensor<2> {
    let values = noise(rows * columns, seed);
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

fn floats<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

type Operation = (&'static str, fn(&Device) -> Vec<f32>);

const OPERATIONS: [Operation; 7] = [
    ("product with a turned matrix", |device| {
        let (x, w) = (matrix(device, [33, 576], 1), matrix(device, [160, 576], 2));
        floats(x.matmul(w.transpose()))
    }),
    ("row norms and their gradient", |device| {
        let x = matrix(device, [7, 96], 3).autodiff().require_grad();
        let norms = row_norms(x.clone());
        let mut gradients = norms.clone().sum().backward();
        let gradient = x.grad_remove(&mut gradients).map(floats);
        [floats(norms.detach()), gradient.unwrap_or_default()].concat()
    }),
    ("mean of what is positive", |device| {
        floats(mean_of_positive(matrix(device, [1, 257], 4).reshape([257])))
    }),
    ("cross entropy at labels and its gradient", |device| {
        let hidden = matrix(device, [5, 64], 5).autodiff().require_grad();
        let head = matrix(device, [1000, 64], 6);
        let loss = label_loss(
            hidden.clone(),
            &head.into(),
            &[1, 999, 0, 7, 500],
            &[0.2, 0.2, 0.2, 0.2, 0.2],
        );
        let mut gradients = loss.loss.backward();
        let gradient = hidden.grad_remove(&mut gradients).map(floats);
        [floats(loss.nll), gradient.unwrap_or_default()].concat()
    }),
    ("a masked step", |device| {
        let [w, g, centre] = [7, 8, 9].map(|seed| matrix(device, [96, 160], seed));
        let mask = matrix(device, [96, 160], 10).greater_elem(0.6).float();
        let step = Step {
            rate: 0.9,
            decay: 1e-3,
            decay_outside_mask: true,
            limit: Some(0.5),
        };
        floats(masked_sgd_step(w, g, &mask, &centre, &step))
    }),
    ("directions of Adam", |device| {
        let mut adam = Adam::new([0.5, 0.5]);
        let directions = (11..14).map(|seed| adam.direction(matrix(device, [40, 60], seed)));
        directions.flat_map(floats).collect()
    }),
    ("directions of equal length", |device| {
        let mask = matrix(device, [40, 60], 10).greater_elem(0.6).float();
        let mut steps = EqualSteps::new(0.5);
        let directions =
            (11..14).map(|seed| steps.direction(matrix(device, [40, 60], seed), &mask));
        directions.flat_map(floats).collect()
    }),
];

/// What a layer makes of the hidden states, and the gradient that comes back through it.
fn through_a_weight(device: &Device, precision: Precision) -> Vec<f32> {
    let x = matrix(device, [33, 576], 14).autodiff().require_grad();
    let weight = matrix(device, [160, 576], 15).cast(precision.dtype());
    let y = product(x.clone(), &weight);
    let mut gradients = (y.clone() * matrix(device, [33, 160], 16)).sum().backward();
    let gradient = x.grad_remove(&mut gradients).map(floats);
    [floats(y.detach()), gradient.unwrap_or_default()].concat()
}

pub fn check(cpu: &Device, device: &Device, precision: Precision) -> Vec<Outcome> {
    let outcome = |(name, operation): Operation| {
        relative(name, &operation(device), &operation(cpu), TOLERANCE)
    };
    let mut outcomes: Vec<Outcome> = OPERATIONS.into_iter().map(outcome).collect();
    outcomes.push(relative(
        "product with a frozen weight",
        &through_a_weight(device, precision),
        &through_a_weight(cpu, Precision::F32),
        within(PRODUCT, precision),
    ));
    outcomes
}
