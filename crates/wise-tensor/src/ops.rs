//! The few operations that wise needs and burn does not have ready.

use burn::tensor::Tensor;

use crate::on_cpu::is_cpu;

/// L2 norm of every row of `x` (`[rows, width]` to `[rows]`), with gradient 0 where the row is 0.
///
/// The plain `sqrt(sum(x^2))` has an infinite derivative at 0, and a fresh side memory starts there.
pub fn row_norms(x: Tensor<2>) -> Tensor<1> {
    let squares = x.square().sum_dim(1).squeeze_dim::<1>(1);
    let zero = squares.clone().equal_elem(0.0);
    squares
        .mask_fill(zero.clone(), 1.0)
        .sqrt()
        .mask_fill(zero, 0.0)
}

/// Mean of the strictly positive elements, 0 if there are none: the hinge mean of WISE's losses.
pub fn mean_of_positive(x: Tensor<1>) -> Tensor<1> {
    let count = x.clone().detach().greater_elem(0.0).float().sum();
    burn::tensor::activation::relu(x).sum() / count.clamp_min(1.0)
}

/// `x`, shortened so that within `mask` it is at most `most` times as long as `other` is there; all are `[out, in]`.
pub fn no_longer_than(x: Tensor<2>, other: &Tensor<2>, mask: &Tensor<2>, most: f64) -> Tensor<2> {
    let length = |x: &Tensor<2>| (x.clone() * mask.clone()).square().sum().sqrt();
    if is_cpu(&x.device()) {
        let of = |x: &Tensor<2>| f64::from(length(x).into_scalar::<f32>());
        let share = (most * of(other) / of(&x).max(f64::MIN_POSITIVE)).min(1.0);
        return x * share;
    }
    let least = f64::from(f32::MIN_POSITIVE);
    let share = (length(other) * most / length(&x).clamp_min(least)).clamp_max(1.0);
    x * share.unsqueeze()
}

/// Moves every element of `weight` to within `limit` of the same element of `centre`.
pub fn clamp_around(weight: Tensor<2>, centre: &Tensor<2>, limit: f64) -> Tensor<2> {
    (weight - centre.clone()).clamp(-limit, limit) + centre.clone()
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::TensorData;

    use super::*;
    use crate::DeviceName;

    fn values(x: Tensor<1>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    fn matrix(rows: usize, columns: usize, data: Vec<f32>) -> Tensor<2> {
        let device = DeviceName::Cpu.open().unwrap();
        Tensor::from_data(TensorData::new(data, [rows, columns]), &device)
    }

    #[test]
    fn norm_of_a_zero_row_is_zero_with_zero_gradient() {
        let x = matrix(2, 2, vec![0.0, 0.0, 3.0, 4.0])
            .autodiff()
            .require_grad();
        let norms = row_norms(x.clone());
        assert_eq!(values(norms.clone().detach()), [0.0, 5.0]);
        let gradient = x.grad_remove(&mut norms.sum().backward()).unwrap();
        let gradient: Vec<f32> = gradient.into_data().try_to_vec().unwrap();
        assert_eq!(gradient, [0.0, 0.0, 0.6, 0.8]);
    }

    #[test]
    fn positive_mean_ignores_the_rest() {
        let x = matrix(1, 4, vec![-5.0, 1.0, 0.0, 3.0]).reshape([4]);
        assert_eq!(values(mean_of_positive(x)), [2.0]);
        let none = matrix(1, 2, vec![-1.0, 0.0]).reshape([2]);
        assert_eq!(values(mean_of_positive(none)), [0.0]);
    }

    #[test]
    fn what_is_too_long_within_the_mask_is_shortened() {
        let mask = matrix(1, 3, vec![1.0, 1.0, 0.0]);
        let x = matrix(1, 3, vec![3.0, 4.0, 100.0]);
        let other = matrix(1, 3, vec![0.0, 2.0, 7.0]);
        let shortened = |most| values(no_longer_than(x.clone(), &other, &mask, most).reshape([3]));
        assert_eq!(shortened(1.25), [1.5, 2.0, 50.0]);
        assert_eq!(shortened(9.0), [3.0, 4.0, 100.0]);
    }

    #[test]
    fn clamp_is_around_the_centre() {
        let centre = matrix(1, 3, vec![1.0, 1.0, 1.0]);
        let weight = matrix(1, 3, vec![3.0, -3.0, 1.5]);
        let clamped = values(clamp_around(weight, &centre, 1.0).reshape([3]));
        assert_eq!(clamped, [2.0, 0.0, 1.5]);
    }
}
