//! One edit as a sequence of tokens, and the descent of its loss.

use burn::tensor::Tensor;
use wise_model::{EditSite, Model, Overlay, Row};
use wise_tensor::Adam;

use crate::rivals::settings::Training;
use crate::{Edit, Error, Result};

/// beta 1 and beta 2 that the paper of Adam recommends.
const BETAS: [f64; 2] = [0.9, 0.999];

/// One edit as tokens: the prompt, then the target.
#[derive(Debug)]
pub(super) struct Lesson {
    /// The edit's id.
    pub(super) id: usize,
    /// The target as text.
    pub(super) label: String,
    pub(super) prompt: Vec<u32>,
    /// With the end-of-sequence token, where that is taught.
    pub(super) target: Vec<u32>,
}

impl Lesson {
    /// # Errors
    /// If a text is empty, or the edit does not fit the model's context.
    pub(super) fn new(model: &Model, training: &Training, edit: &Edit, id: usize) -> Result<Self> {
        for (field, text) in [("prompt", &edit.prompt), ("target", &edit.target)] {
            if text.trim().is_empty() {
                return Err(Error::EmptyField { index: id, field });
            }
        }
        let answered = model.answered(training.format, "", &edit.prompt, &edit.target)?;
        let mut target = answered.tokens[answered.prompt.tokens.len()..].to_vec();
        if training.target_eos {
            target.extend(model.eos().first());
        }
        let prompt = answered.prompt.tokens;
        let (got, context) = (prompt.len() + target.len(), model.config().context);
        if got > context {
            return Err(Error::EditTooLong {
                index: id,
                got,
                context,
            });
        }
        Ok(Self {
            id,
            label: edit.target.trim().to_owned(),
            prompt,
            target,
        })
    }

    pub(super) fn last_prompt_token(&self) -> usize {
        self.prompt.len() - 1
    }

    /// Of each target token the one before it, whose logits predict it.
    pub(super) fn tokens_before_the_target(&self) -> Vec<usize> {
        let first = self.last_prompt_token();
        (first..first + self.target.len()).collect()
    }

    fn row(&self) -> Row {
        [self.prompt.as_slice(), &self.target].concat().into()
    }
}

/// The edit loss: mean negative log-likelihood of the target's tokens, in nats.
pub(super) struct Objective<'a> {
    model: &'a Model,
    pub(super) site: EditSite,
    read_at: Vec<usize>,
    labels: Vec<u32>,
    weights: Vec<f32>,
}

impl<'a> Objective<'a> {
    /// `read_at` is for each target token the token whose logits shall predict it.
    pub(super) fn new(
        model: &'a Model,
        layer: usize,
        lesson: &Lesson,
        read_at: Vec<usize>,
    ) -> Result<Self> {
        let count = lesson.target.len();
        Ok(Self {
            model,
            site: model.prefix(&[lesson.row()], layer, None)?,
            read_at,
            labels: lesson.target.clone(),
            weights: vec![1.0 / count as f32; count],
        })
    }

    pub(super) fn loss(&self, overlay: &Overlay) -> Tensor<1> {
        let output = self.model.site_output(&self.site, overlay);
        let (at, labels) = (&self.read_at, &self.labels);
        let mean = self
            .model
            .label_loss(&self.site, output, overlay, at, labels, &self.weights);
        mean.loss
    }
}

/// Where a descent ended.
#[derive(Debug)]
pub(super) struct Descended {
    pub(super) parameters: Vec<Tensor<2>>,
    pub(super) iterations: usize,
    /// Of these parameters.
    pub(super) loss: f32,
}

/// Told of the iterations done and the loss before the last of them.
pub(super) type Observe<'a> = dyn FnMut(usize, f32) + 'a;

impl Training {
    /// Descends `loss` by Adam with fresh moments, until it is under `stop_loss` or `n_iter` steps are done.
    /// After each step every parameter is put through `constrain`.
    ///
    /// # Errors
    /// [`Error::Diverged`].
    pub(super) fn descend(
        &self,
        lesson: &Lesson,
        mut parameters: Vec<Tensor<2>>,
        loss: impl Fn(&[Tensor<2>]) -> Tensor<1>,
        constrain: impl Fn(Tensor<2>) -> Tensor<2>,
        observe: &mut Observe<'_>,
    ) -> Result<Descended> {
        let mut adam: Vec<Adam> = parameters.iter().map(|_| Adam::new(BETAS)).collect();
        let mut iterations = 0;
        loop {
            let tracked: Vec<Tensor<2>> = parameters
                .iter()
                .map(|parameter| parameter.clone().autodiff().require_grad())
                .collect();
            let total = loss(&tracked);
            let loss: f32 = total.clone().detach().into_scalar();
            if !loss.is_finite() {
                return Err(Error::Diverged {
                    index: lesson.id,
                    iteration: iterations + 1,
                    loss,
                });
            }
            if f64::from(loss) < self.stop_loss || iterations == self.n_iter {
                return Ok(Descended {
                    parameters,
                    iterations,
                    loss,
                });
            }
            let mut gradients = total.backward();
            for ((parameter, tracked), adam) in parameters.iter_mut().zip(&tracked).zip(&mut adam) {
                if let Some(gradient) = tracked.grad_remove(&mut gradients) {
                    let step = adam.direction(gradient) * self.edit_lr;
                    *parameter = constrain(parameter.clone() - step);
                }
            }
            iterations += 1;
            observe(iterations, loss);
        }
    }
}
