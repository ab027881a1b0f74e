//! Whitening: what hidden states have in common must not decide how alike two of them are.

use burn::tensor::{Tensor, TensorData};

/// Passes of the covariance over the subspace. Few, so that the subspace depends smoothly on the states and
/// rounding does not turn it.
const PASSES: usize = 3;

/// What is added to each variance, as a share of the mean variance inside the subspace.
const RIDGE: f64 = 0.01;

/// Projects centred states onto about the `width` directions of largest variance, in which their covariance becomes
/// the unit matrix.
///
/// `states` is `[count, hidden]` and the result `[hidden, width]`. Randomised subspace iteration (Halko et al. 2011)
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

/// Columns that no covariance is likely to be blind to, the same each time.
fn start(hidden: usize, width: usize) -> Vec<Vec<f64>> {
    let mut state = 1u64;
    let mut next = || {
        // Knuth's linear congruential generator: any columns in general position will do.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    (0..width)
        .map(|_| (0..hidden).map(|_| next()).collect())
        .collect()
}

/// Columns times a matrix.
fn times(matrix: &Tensor<2>, columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let [hidden, wide] = matrix.dims();
    let device = matrix.device();
    let values: Vec<f32> = columns.iter().flatten().map(|&x| x as f32).collect();
    let columns = Tensor::<2>::from_data(TensorData::new(values, [columns.len(), hidden]), &device);
    let product = columns.matmul(matrix.clone()).into_data();
    let product: Vec<f64> = product.iter::<f32>().map(f64::from).collect();
    product.chunks(wide).map(<[f64]>::to_vec).collect()
}

/// Modified Gram-Schmidt, twice; a column that depends on those before it becomes 0.
fn orthonormal(mut columns: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for i in 0..columns.len() {
        let before = dot(&columns[i], &columns[i]).sqrt();
        let (done, rest) = columns.split_at_mut(i);
        let column = &mut rest[0];
        for _ in 0..2 {
            for other in &*done {
                let part = dot(column, other);
                column
                    .iter_mut()
                    .zip(other)
                    .for_each(|(x, y)| *x -= part * y);
            }
        }
        let length = dot(column, column).sqrt();
        let factor = if length > 1e-6 * before {
            1.0 / length
        } else {
            0.0
        };
        for x in column.iter_mut() {
            *x *= factor;
        }
    }
    columns
}

/// The lower factor of a positive matrix.
fn cholesky(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for i in 0..matrix.len() {
        for j in 0..=i {
            let known = dot(&matrix[i][..j], &matrix[j][..j]);
            let rest = matrix[i][j] - known;
            matrix[i][j] = if i == j {
                rest.max(f64::MIN_POSITIVE).sqrt()
            } else {
                rest / matrix[j][j]
            };
        }
    }
    matrix
}

/// The columns that `lower`, applied to them, turns into `columns`.
fn solve_lower(lower: &[Vec<f64>], mut columns: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for (i, row) in lower.iter().enumerate() {
        let (done, rest) = columns.split_at_mut(i);
        let column = &mut rest[0];
        for (other, factor) in done.iter().zip(row) {
            column
                .iter_mut()
                .zip(other)
                .for_each(|(x, y)| *x -= factor * y);
        }
        for x in column.iter_mut() {
            *x /= row[i];
        }
    }
    columns
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
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
        let values: Vec<f32> = stretched.collect();
        let states = Tensor::from_data(TensorData::new(values, [count, hidden]), &device);
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
