//! The Adam optimiser (Kingma and Ba, ICLR 2015, algorithm 1).

use burn::tensor::Tensor;

/// beta 1 and beta 2 of the paper.
pub(crate) const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// Turns the gradients of one parameter into the directions to go against, for a rate of 1.
#[derive(Debug)]
pub(crate) struct Adam {
    betas: [f64; 2],
    steps: i32,
    /// Running means of the gradient and of its square.
    moments: Option<(Tensor<2>, Tensor<2>)>,
}

impl Adam {
    /// `betas` are the shares of the running means that each step keeps.
    pub(crate) fn new(betas: [f64; 2]) -> Self {
        Self {
            betas,
            steps: 0,
            moments: None,
        }
    }

    pub(crate) fn direction(&mut self, gradient: Tensor<2>) -> Tensor<2> {
        let [first, second] = self.betas;
        let fresh = (
            gradient.clone() * (1.0 - first),
            gradient.square() * (1.0 - second),
        );
        let (mean, square) = match self.moments.take() {
            None => fresh,
            Some((mean, square)) => (mean * first + fresh.0, square * second + fresh.1),
        };
        self.moments = Some((mean.clone(), square.clone()));
        self.steps += 1;
        let mean = mean / (1.0 - first.powi(self.steps));
        let square = square / (1.0 - second.powi(self.steps));
        mean / (square.sqrt() + EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn the_direction_is_the_sign_of_a_constant_gradient() {
        let device = wise_model::DeviceName::Cpu.open().unwrap();
        let gradient = Tensor::from_data(TensorData::new(vec![0.5_f32, -2.0], [1, 2]), &device);
        let mut adam = Adam::new(BETAS);
        for _ in 0..3 {
            let direction = adam.direction(gradient.clone()).into_data();
            let direction: Vec<f32> = direction.iter::<f32>().collect();
            assert!((direction[0] - 1.0).abs() < 1e-5 && (direction[1] + 1.0).abs() < 1e-5);
        }
    }
}
