//! A matrix as two thin factors.

use nalgebra::DMatrix;
use rand_chacha::rand_core::RngCore;

use crate::random::{self, Purpose};
use crate::{Error, Result};

/// Columns of the sketch beyond the rank.
const OVERSAMPLED: usize = 16;

/// How often the sketch is passed through the matrix and back. Changes of a random subspace have a flat spectrum, in
/// which one pass finds little.
const PASSES: usize = 4;

/// The best `up * down` of some rank that a truncated singular value decomposition finds.
///
/// The subspace is found by randomised subspace iteration (Halko, Martinsson and Tropp, *Finding structure with
/// randomness*, SIAM Review 2011), which is exact where the rank is near the matrix's own; what is decomposed is small.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// `[rows, rank]`, row by row.
    pub up: Vec<f32>,
    /// `[rank, columns]`, row by row.
    pub down: Vec<f32>,
    /// Share of the matrix's sum of squares that `up * down` has, 0 to 1; the rest is what their difference has.
    pub kept: f64,
}

impl LowRank {
    /// Takes a matrix of shape `[rows, columns]`, given row by row, apart.
    ///
    /// # Errors
    /// [`Error::Length`] if the shape is another, [`Error::Rank`] if the rank is 0 or more than the shorter side,
    /// [`Error::NotFinite`].
    pub fn of(matrix: &[f32], [rows, columns]: [usize; 2], rank: usize) -> Result<Self> {
        let (got, expected) = (matrix.len(), rows.saturating_mul(columns));
        if got != expected {
            let what = "entries of the matrix";
            return Err(Error::Length {
                what,
                got,
                expected,
            });
        }
        let most = rows.min(columns);
        if rank == 0 || rank > most {
            return Err(Error::Rank { got: rank, most });
        }
        if let Some(entry) = matrix.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite {
                matrix: "the matrix".to_owned(),
                entry,
                got: matrix[entry],
            });
        }
        let matrix = DMatrix::from_row_slice(rows, columns, matrix);
        let basis = range(&matrix, most.min(rank + OVERSAMPLED));
        let inside = basis.tr_mul(&matrix).svd(true, true);
        let squares = |values: &[f32]| values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let (all, values) = (
            squares(matrix.as_slice()),
            inside.singular_values.as_slice(),
        );
        let kept = if all > 0.0 {
            (squares(&values[..rank]) / all).min(1.0)
        } else {
            1.0
        };
        let roots = DMatrix::from_fn(
            rank,
            rank,
            |i, j| if i == j { values[i].sqrt() } else { 0.0 },
        );
        let factor = |of: Option<DMatrix<f32>>| of.unwrap_or_else(|| DMatrix::zeros(0, 0));
        let (left, right) = (factor(inside.u), factor(inside.v_t));
        let up = basis * left.columns(0, rank) * &roots;
        let down = &roots * right.rows(0, rank);
        // nalgebra's are column by column.
        let by_rows = |matrix: DMatrix<f32>| matrix.transpose().as_slice().to_vec();
        Ok(Self {
            up: by_rows(up),
            down: by_rows(down),
            kept,
        })
    }
}

impl LowRank {
    /// `up * down`, row by row, of `columns` columns.
    pub fn product(&self, columns: usize) -> Vec<f32> {
        let rank = self.down.len() / columns.max(1);
        let row = |up: &[f32]| {
            let mut row = vec![0.0; columns];
            for (factor, down) in up.iter().zip(self.down.chunks_exact(columns.max(1))) {
                for (sum, x) in row.iter_mut().zip(down) {
                    *sum += factor * x;
                }
            }
            row
        };
        self.up.chunks_exact(rank.max(1)).flat_map(row).collect()
    }
}

/// Orthonormal columns, `[rows, width]`, in which most of the matrix lies.
fn range(matrix: &DMatrix<f32>, width: usize) -> DMatrix<f32> {
    let mut random = random::stream(Purpose::Sketch, 0, 0);
    // Any columns in general position will do.
    let mut uniform = || random.next_u32() as f32 / 2_f32.powi(32) - 0.5;
    let sketch = DMatrix::from_fn(matrix.ncols(), width, |_, _| uniform());
    let mut basis = (matrix * sketch).qr().q();
    for _ in 0..PASSES {
        let back = matrix.tr_mul(&basis).qr().q();
        basis = (matrix * back).qr().q();
    }
    basis
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<f32> {
        let mut random = random::stream(Purpose::Sketch, 1, 0);
        (0..len)
            .map(|_| random.next_u32() as f32 / 2_f32.powi(32) - 0.5)
            .collect()
    }

    #[test]
    fn by_hand() {
        // Singular values 4 and 3, of 16 + 9.
        let matrix = [0.0, 4.0, 0.0, 3.0, 0.0, 0.0];
        let one = LowRank::of(&matrix, [2, 3], 1).unwrap();
        assert!((one.kept - 16.0 / 25.0).abs() < 1e-6, "{}", one.kept);
        let expected = [0.0, 4.0, 0.0, 0.0, 0.0, 0.0];
        for (got, expected) in one.product(3).into_iter().zip(expected) {
            assert!((got - expected).abs() < 1e-5, "{got} {expected}");
        }
    }

    #[test]
    fn a_matrix_of_low_rank_is_found_again_and_all_of_it_kept() {
        let (rows, columns, rank) = (60, 90, 3);
        let (up, down) = (noise(rows * rank), noise(rank * columns));
        let known = LowRank {
            up,
            down,
            kept: 1.0,
        };
        let matrix = known.product(columns);
        let found = LowRank::of(&matrix, [rows, columns], rank).unwrap();
        assert!((found.kept - 1.0).abs() < 1e-5, "{}", found.kept);
        for (got, expected) in found.product(columns).iter().zip(&matrix) {
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
    }

    #[test]
    fn what_is_not_kept_is_the_difference() {
        let (rows, columns) = (40, 50);
        let matrix = noise(rows * columns);
        let found = LowRank::of(&matrix, [rows, columns], 7).unwrap();
        let squares = |x: &mut dyn Iterator<Item = f32>| x.map(|x| f64::from(x * x)).sum::<f64>();
        let product = found.product(columns);
        let lost = squares(&mut matrix.iter().zip(&product).map(|(a, b)| a - b));
        let share = 1.0 - lost / squares(&mut matrix.iter().copied());
        assert!((found.kept - share).abs() < 1e-5, "{} {share}", found.kept);
        assert!(found.kept < 0.6);
    }

    #[test]
    fn factors_multiply_by_rows() {
        let factors = LowRank {
            up: vec![1.0, 2.0, 3.0, 4.0],
            down: vec![1.0, 0.0, -1.0, 0.0, 1.0, 1.0],
            kept: 1.0,
        };
        assert_eq!(factors.product(3), [1.0, 2.0, 1.0, 3.0, 4.0, 1.0]);
    }

    #[test]
    fn nothing_has_no_energy_to_lose() {
        let zeros = LowRank::of(&[0.0; 6], [2, 3], 2).unwrap();
        assert_eq!(zeros.kept, 1.0);
        assert!(zeros.product(3).iter().all(|x| *x == 0.0));
    }

    #[test]
    fn what_cannot_be_taken_apart_is_refused() {
        let refused = |matrix: &[f32], rank| LowRank::of(matrix, [2, 2], rank).unwrap_err();
        assert_eq!(
            refused(&[0.0; 4], 0).to_string(),
            "rank is 0, expected 1 to 2"
        );
        assert_eq!(
            refused(&[0.0; 4], 3).to_string(),
            "rank is 3, expected 1 to 2"
        );
        assert!(matches!(refused(&[0.0; 3], 1), Error::Length { .. }));
        assert!(matches!(
            refused(&[0.0, f32::NAN, 0.0, 0.0], 1),
            Error::NotFinite { entry: 1, .. }
        ));
    }
}
