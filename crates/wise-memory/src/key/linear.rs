//! The little linear algebra that keys need. Matrices are lists of rows; sums are taken in f64.

use burn::tensor::{Device, Tensor, TensorData};

/// Columns that no covariance is likely to be blind to, the same each time.
pub(super) fn start(hidden: usize, width: usize) -> Vec<Vec<f64>> {
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

/// Numbers as rows of `wide` each.
pub(super) fn tensor(values: Vec<f32>, wide: usize, device: &Device) -> Tensor<2> {
    let rows = values.len() / wide;
    Tensor::from_data(TensorData::new(values, [rows, wide]), device)
}

/// The rows of a tensor.
pub(super) fn rows(tensor: Tensor<2>) -> Vec<Vec<f64>> {
    let [_, wide] = tensor.dims();
    let values: Vec<f64> = tensor.into_data().iter::<f32>().map(f64::from).collect();
    values.chunks(wide).map(<[f64]>::to_vec).collect()
}

/// Columns times a symmetric matrix.
pub(super) fn times(matrix: &Tensor<2>, columns: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let [hidden, _] = matrix.dims();
    let values: Vec<f32> = columns.iter().flatten().map(|&x| x as f32).collect();
    rows(tensor(values, hidden, &matrix.device()).matmul(matrix.clone()))
}

/// Modified Gram-Schmidt, twice; a column that depends on those before it becomes 0.
pub(super) fn orthonormal(mut columns: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
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
pub(super) fn cholesky(mut matrix: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
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
pub(super) fn solve_lower(lower: &[Vec<f64>], mut columns: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
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

/// The columns that the transpose of `lower`, applied to them, turns into `columns`.
pub(super) fn solve_upper(lower: &[Vec<f64>], mut columns: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    for (i, row) in lower.iter().enumerate().rev() {
        let (before, rest) = columns.split_at_mut(i);
        let column = &mut rest[0];
        for x in column.iter_mut() {
            *x /= row[i];
        }
        for (other, factor) in before.iter_mut().zip(row) {
            for (x, y) in other.iter_mut().zip(&*column) {
                *x -= factor * y;
            }
        }
    }
    columns
}

/// Rows as columns.
pub(super) fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let wide = rows.first().map_or(0, Vec::len);
    (0..wide)
        .map(|i| rows.iter().map(|row| row[i]).collect())
        .collect()
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_and_both_solutions_undo_a_matrix() {
        let rows = start(4, 4);
        let square = |a: &[f64], b: &[f64]| dot(a, b) + if a == b { 0.1 } else { 0.0 };
        let matrix: Vec<Vec<f64>> = rows
            .iter()
            .map(|a| rows.iter().map(|b| square(a, b)).collect())
            .collect();
        let lower = cholesky(matrix.clone());
        let solved = solve_upper(&lower, solve_lower(&lower, matrix));
        for (i, row) in solved.iter().enumerate() {
            for (j, x) in row.iter().enumerate() {
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((x - expected).abs() < 1e-9, "{i} {j}: {x}");
            }
        }
        assert_eq!(transposed(&transposed(&rows)), rows);
    }
}
