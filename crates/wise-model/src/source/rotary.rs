//! The order of rotary rows.

/// Undoes the row order that llama.cpp gives to rotary projections, and in which GPT-J is trained.
///
/// Rotary embedding turns pairs of rows. Hugging Face's Llama pairs row `i` of a head with row `i + rotary / 2`; the
/// others interleave them, so that pair `i` is rows `2 i` and `2 i + 1`. `values` are `rows = heads * head_dim` rows, of
/// each head the first `rotary` are turned; a bias is rows of one column.
pub(super) fn undo_interleaving(
    values: &[f32],
    heads: usize,
    rows: usize,
    rotary: usize,
) -> Vec<f32> {
    let columns = values.len() / rows;
    let from = |row| interleaved_row(row, rows / heads, rotary) * columns;
    (0..rows)
        .flat_map(|row| &values[from(row)..][..columns])
        .copied()
        .collect()
}

/// The order that [`undo_interleaving`] undoes.
pub(super) fn interleaved(values: &[f32], heads: usize, rows: usize, rotary: usize) -> Vec<f32> {
    let columns = values.len() / rows;
    let mut out = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(columns).enumerate() {
        let to = interleaved_row(row, rows / heads, rotary) * columns;
        out[to..][..columns].copy_from_slice(values);
    }
    out
}

/// Where a row of the order of halves is in the interleaved order.
fn interleaved_row(row: usize, head_dim: usize, rotary: usize) -> usize {
    let within = row % head_dim;
    if within >= rotary {
        return row;
    }
    let (half, pair) = (within / (rotary / 2), within % (rotary / 2));
    row - within + 2 * pair + half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleaving_is_undone() {
        let rows: Vec<f32> = (0..48u8).map(f32::from).collect();
        for (heads, rows_in_all, rotary) in [(2, 12, 4), (3, 24, 8), (1, 4, 4)] {
            let there = interleaved(&rows, heads, rows_in_all, rotary);
            assert_ne!(there, rows);
            assert_eq!(undo_interleaving(&there, heads, rows_in_all, rotary), rows);
        }
    }

    #[test]
    fn interleaved_rows_become_two_halves() {
        // Two heads of four rows, two columns: row r holds r and -r.
        let interleaved: Vec<f32> = (0..8u8)
            .flat_map(|r| [f32::from(r), -f32::from(r)])
            .collect();
        let halves = undo_interleaving(&interleaved, 2, 8, 4);
        let rows: Vec<f32> = halves.iter().copied().step_by(2).collect();
        assert_eq!(rows, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert_eq!(halves[2..4], [2.0, -2.0]);
    }

    #[test]
    fn rows_that_are_not_turned_stay() {
        let rows: Vec<f32> = (0..12u8).map(f32::from).collect();
        let expected = [0.0, 2.0, 1.0, 3.0, 4.0, 5.0, 6.0, 8.0, 7.0, 9.0, 10.0, 11.0];
        assert_eq!(undo_interleaving(&rows, 2, 12, 4), expected);
    }

    #[test]
    fn a_bias_is_one_column() {
        assert_eq!(
            undo_interleaving(&[0.0, 1.0, 2.0, 3.0], 1, 4, 4),
            [0.0, 2.0, 1.0, 3.0]
        );
    }
}
