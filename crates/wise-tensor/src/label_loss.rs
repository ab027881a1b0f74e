//! Cross entropy under a vocabulary-wide head, with its gradient.

use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

use crate::on_cpu::{floats, is_cpu, tensor};
use crate::table::Table;

/// The loss of some labels.
#[derive(Debug, Clone)]
pub struct LabelLoss {
    /// Sum of the negative log-likelihoods in nats, each times its weight. Its gradient flows into the hidden
    /// states.
    pub loss: Tensor<1>,
    /// Negative log-likelihood of each label, in nats, `[labels]`.
    pub nll: Tensor<1>,
}

/// Logits that are in memory at once where the processor does not compute, in bytes: what `WebGPU` binds everywhere.
const LOGITS_BYTES: usize = 128 << 20;

/// Loss of `labels` under the logits `hidden * head^T`, where `hidden` is `[labels, width]` and `head`
/// `[vocabulary, width]`; there must be a label at least.
///
/// The gradient with respect to the hidden states, `weight * (softmax - one_hot) * head`, is computed along with the
/// loss, so that nothing as wide as the vocabulary is put on the tape: of that width there is one buffer, which turns
/// from logits into their gradient in one pass. Nothing is read back from a device.
pub fn label_loss(hidden: Tensor<2>, head: &Table, labels: &[u32], weights: &[f32]) -> LabelLoss {
    let together = if is_cpu(&head.device()) {
        labels.len()
    } else {
        LOGITS_BYTES / (head.tokens() * size_of::<f32>())
    };
    in_chunks(hidden, head, labels, weights, together.max(1))
}

/// With the logits of `together` labels at a time.
fn in_chunks(
    hidden: Tensor<2>,
    head: &Table,
    labels: &[u32],
    weights: &[f32],
    together: usize,
) -> LabelLoss {
    let plain = hidden.clone().detach();
    let (mut nll, mut sums, mut gradients) = (Vec::new(), Vec::new(), Vec::new());
    let chunks = labels.chunks(together).zip(weights.chunks(together));
    for (chunk, (labels, weights)) in chunks.enumerate() {
        let some = plain.clone().narrow(0, chunk * together, labels.len());
        let logits = head.logits(some);
        let (of_each, sum, gradient) = if is_cpu(&logits.device()) {
            on_cpu(logits, labels, weights)
        } else {
            on_device(logits, labels, weights)
        };
        nll.push(of_each);
        sums.push(sum);
        gradients.push(head.back(gradient));
    }
    let gradient = Tensor::cat(gradients, 0);
    // Linear in the hidden states, with the slope of the loss where they are.
    let slope = (hidden * gradient.clone()).sum() - (plain * gradient).sum();
    LabelLoss {
        loss: slope + Tensor::cat(sums, 0).sum(),
        nll: Tensor::cat(nll, 0),
    }
}

/// `[labels]`, `[1]` and `[labels, vocabulary]`.
type LossAndGradient = (Tensor<1>, Tensor<1>, Tensor<2>);

/// Losses, their weighted sum, and the gradient with respect to the logits, written over them.
fn on_cpu(logits: Tensor<2>, labels: &[u32], weights: &[f32]) -> LossAndGradient {
    let (shape, device) = (logits.dims(), logits.device());
    let mut logits = floats(logits);
    let rows = logits.par_chunks_mut(shape[1]);
    let nll: Vec<f32> = rows
        .zip(labels.par_iter().zip(weights))
        .map(|(row, (&label, &weight))| descend(row, label as usize, weight))
        .collect();
    let sum: f32 = nll
        .iter()
        .zip(weights)
        .map(|(nll, weight)| nll * weight)
        .sum();
    let sum = Tensor::from_floats([sum], &device);
    let nll = Tensor::from_data(TensorData::new(nll, [shape[0]]), &device);
    (nll, sum, tensor(logits, shape, &device))
}

/// Turns the logits of one label into the gradient of its weighted loss; returns the loss without the weight.
fn descend(logits: &mut [f32], label: usize, weight: f32) -> f32 {
    let peak = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let chosen = logits[label] - peak;
    for logit in logits.iter_mut() {
        *logit = (*logit - peak).exp();
    }
    let sum: f32 = logits
        .chunks(1024)
        .map(|part| part.iter().sum::<f32>())
        .sum();
    let scale = weight / sum;
    for share in logits.iter_mut() {
        *share *= scale;
    }
    logits[label] -= weight;
    sum.ln() - chosen
}

/// The same in operations of the backend, so that logits stay on the device.
fn on_device(logits: Tensor<2>, labels: &[u32], weights: &[f32]) -> LossAndGradient {
    let ([rows, _], device) = (logits.dims(), logits.device());
    let ids: Vec<i32> = labels.iter().map(|&id| id as i32).collect();
    let labels = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, 1]), &device);
    let weights = Tensor::<2>::from_data(TensorData::new(weights.to_vec(), [rows, 1]), &device);
    let shifted = logits.clone() - logits.max_dim(1);
    let chosen = shifted.clone().gather(1, labels.clone());
    let shares = shifted.exp();
    let sum = shares.clone().sum_dim(1);
    let nll = sum.clone().log() - chosen;
    let weighted = (nll.clone() * weights.clone()).sum();
    let gradient = shares * (weights.clone() / sum);
    let gradient = gradient.scatter(
        1,
        labels,
        weights.neg(),
        burn::tensor::IndexingUpdateOp::Add,
    );
    (nll.squeeze_dim(1), weighted, gradient)
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use burn::tensor::activation::log_softmax;
    use proptest::prelude::*;

    use super::*;
    use crate::DeviceName;

    const WIDTH: usize = 3;
    const VOCABULARY: usize = 7;

    fn matrix(values: &[f32], width: usize) -> Tensor<2> {
        let device = DeviceName::Cpu.open().unwrap();
        let shape = [values.len() / width, width];
        Tensor::from_data(TensorData::new(values.to_vec(), shape), &device)
    }

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().iter::<f32>().collect()
    }

    fn assert_close(got: &[f32], expected: &[f32]) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!(
                (got - expected).abs() <= 1e-5 * (1.0 + expected.abs()),
                "{got} {expected}"
            );
        }
    }

    fn of_logits(logits: &[f32], label: u32) -> f32 {
        let identity: Vec<f32> = (0..9).map(|i| f32::from(u8::from(i % 4 == 0))).collect();
        let hidden = matrix(logits, WIDTH);
        let loss = label_loss(hidden, &matrix(&identity, WIDTH).into(), &[label], &[1.0]);
        values(loss.nll)[0]
    }

    #[test]
    fn nll_is_log_of_the_softmax() {
        let expected = (1_f32.exp() + 2_f32.exp() + 3_f32.exp()).ln() - 1.0;
        assert_close(&[of_logits(&[1.0, 2.0, 3.0], 0)], &[expected]);
    }

    #[test]
    fn nll_survives_large_logits() {
        assert_close(&[of_logits(&[1000.0, -1000.0, 0.0], 0)], &[0.0]);
        assert_close(&[of_logits(&[1000.0, -1000.0, 0.0], 1)], &[2000.0]);
    }

    proptest! {
        #[test]
        fn loss_and_gradient_are_those_of_the_tape(
            hidden in prop::collection::vec(-4.0_f32..4.0, 4 * WIDTH),
            head in prop::collection::vec(-2.0_f32..2.0, VOCABULARY * WIDTH),
            labels in prop::collection::vec(0..VOCABULARY as u32, 4),
            weights in prop::collection::vec(0.0_f32..1.0, 4),
            together in 1_usize..=4,
        ) {
            let head = matrix(&head, WIDTH);
            let tracked = || matrix(&hidden, WIDTH).autodiff().require_grad();

            let taped = tracked();
            let log_shares = log_softmax(taped.clone().matmul(head.clone().transpose()), 1);
            let ids: Vec<i32> = labels.iter().map(|&id| id as i32).collect();
            let device = head.device();
            let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [4, 1]), &device);
            let nll = log_shares.gather(1, ids).neg();
            let expected = (nll.clone() * matrix(&weights, 1)).sum();
            let by_hand = tracked();
            let got = in_chunks(by_hand.clone(), &head.into(), &labels, &weights, together);

            assert_close(&values(got.nll), &values(nll.detach()));
            assert_close(&values(got.loss.clone().detach()), &values(expected.clone().detach()));
            assert_close(
                &values(by_hand.grad_remove(&mut got.loss.backward()).unwrap()),
                &values(taped.grad_remove(&mut expected.backward()).unwrap()),
            );
        }

        #[test]
        fn the_backend_operations_do_what_the_pass_on_the_cpu_does(
            logits in prop::collection::vec(-9.0_f32..9.0, 3 * VOCABULARY),
            labels in prop::collection::vec(0..VOCABULARY as u32, 3),
            weights in prop::collection::vec(0.0_f32..1.0, 3),
        ) {
            let logits = matrix(&logits, VOCABULARY);
            let (nll, sum, gradient) = on_cpu(logits.clone(), &labels, &weights);
            let (expected_nll, expected_sum, expected) = on_device(logits, &labels, &weights);
            assert_close(&values(nll), &values(expected_nll));
            assert_close(&values(sum), &values(expected_sum));
            assert_close(&values(gradient), &values(expected));
        }
    }
}
