//! Fine-tuning of one FFN value matrix: what FT-M and FT-L share.

use std::sync::Arc;

use burn::tensor::Tensor;
use wise_memory::Recall;
use wise_model::{Model, Overlay};
use wise_tensor::clamp_around;

use crate::Result;
use crate::rivals::Rival;
use crate::rivals::lesson::{Lesson, Objective, Observe};
use crate::rivals::sequential::{Learnt, Method, Tensors, Unrouted, load_tensor, save_tensor};
use crate::rivals::settings::{Settings, Training};

/// What one way of fine-tuning decides.
pub(super) trait FineTuned: Settings + 'static {
    const RIVAL: Rival;

    /// For each target token, the token whose logits shall predict it.
    fn read_at(lesson: &Lesson) -> Vec<usize>;

    /// No weight moves further than this from the model's own.
    fn norm_constraint(&self) -> Option<f64>;
}

/// A copy of the matrix, trained on from edit to edit.
pub(super) struct FineTuning<C> {
    config: C,
    training: Training,
    main: Tensor<2>,
    matrix: Tensor<2>,
}

const MATRIX: &str = "matrix";

impl<C: FineTuned> Method for FineTuning<C> {
    const RIVAL: Rival = C::RIVAL;
    type Config = C;
    type Notes = ();

    fn new(model: &Model, config: C, training: Training) -> Result<Self> {
        let main = model.site_weight(training.layer)?;
        Ok(Self {
            config,
            training,
            matrix: main.clone(),
            main,
        })
    }

    fn config(&self) -> &C {
        &self.config
    }

    fn learn(
        &mut self,
        model: &Model,
        lesson: &Lesson,
        observe: &mut Observe<'_>,
    ) -> Result<Learnt> {
        let objective = Objective::new(model, self.training.layer, lesson, C::read_at(lesson))?;
        let limit = self.config.norm_constraint();
        let mut descended = self.training.descend(
            lesson,
            vec![self.matrix.clone()],
            |matrix| objective.loss(&Overlay::Replace(matrix[0].clone())),
            |matrix| match limit {
                Some(limit) => clamp_around(matrix, &self.main, limit),
                None => matrix,
            },
            observe,
        )?;
        self.matrix = descended.parameters.swap_remove(0);
        Ok(Learnt {
            iterations: descended.iterations,
            edit_loss: descended.loss,
            activation: 0.0,
        })
    }

    fn recall(&self, edits: usize) -> Arc<dyn Recall> {
        Arc::new(Unrouted {
            layer: self.training.layer,
            overlay: Overlay::Replace(self.matrix.clone()),
            edits,
        })
    }

    fn save(&self) -> ((), Tensors) {
        let matrix = save_tensor(&self.matrix);
        ((), Tensors::from([(MATRIX.to_owned(), matrix)]))
    }

    fn restore(&mut self, (): (), tensors: &Tensors) -> Result<(), String> {
        self.matrix = load_tensor(tensors, MATRIX, self.main.dims(), &self.main.device())?;
        Ok(())
    }
}
