//! Whitening: what hidden states have in common must not decide how alike two of them are.

use burn::tensor::Tensor;

use super::linear::{cholesky, dot, orthonormal, solve_lower, start, times};

/// Passes of the covariance over the subspace. Few, so that the subspace depends smoothly on the states and
/// rounding does not turn it.
const PASSES: usize = 3;

/// What is added to each variance, as a share of the mean variance inside the subspace.
const RIDGE: f64 = 0.01;

/// Projects centred states onto about the `width` directions of largest variance, in which their covariance becomes
/// the unit matrix.
///
/// `states` is `[count, hidden]` and the result `[at most width, hidden]`. Randomised subspace iteration (Halko et al. 2011)
/// and a Cholesky factor: cosines do not depend on how the subspace is turned.
pub(super) fn whitening(states: &Tensor<2>, width: usize) -> Vec<Vec<f64>> {
    let [count, hidden] = states.dims();
    let covariance = states.clone().transpose().matmul(states.clone()) / count as f64;
    let mut basis = orthonormal(start(hidden, width));
    for _ in 0..PASSES {
        basis = orthonormal(times(&covariance, &basis));
    }
    let image = times(&covariance, &basis);
    let mut inside: Vec<Vec<f64>> = basis
        .iter()
        .map(|a| image.iter().map(|b| dot(a, b)).collect())
        .collect();
    let trace: f64 = (0..width).map(|i| inside[i][i]).sum();
    for (i, row) in inside.iter_mut().enumerate() {
        row[i] += (RIDGE * trace / width as f64).max(f64::MIN_POSITIVE);
    }
    solve_lower(&cholesky(inside), basis)
}

#[cfg(test)]
mod tests {
    use super::super::linear::tensor;
    use super::*;

    #[test]
    fn whitened_states_have_the_unit_covariance() {
        let device = wise_model::DeviceName::Cpu.open().unwrap();
        let (count, hidden, width) = (400, 12, 5);
        let noise = start(hidden, count);
        let stretched = noise.iter().flat_map(|state| {
            (0..hidden)
                .map(|i| (state[i] + 0.3 * state[(i + 1) % hidden]) as f32 * 0.7f32.powi(i as i32))
        });
        let states = tensor(stretched.collect(), hidden, &device);
        let columns = whitening(&states, width);
        let whitened = times(&states.transpose(), &columns);
        for (i, a) in whitened.iter().enumerate() {
            for (j, b) in whitened.iter().enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                let got = dot(a, b) / count as f64;
                // The ridge shortens the smallest.
                assert!((got - expected).abs() < 0.35, "{i} {j}: {got}");
            }
        }
        assert!(dot(&whitened[0], &whitened[0]) / count as f64 > 0.9);
    }
}
