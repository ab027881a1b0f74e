//! What a shard's earlier edits bring to the training of the next one.

use burn::tensor::Tensor;
use wise_model::{EditSite, Model};

use crate::wise::WiseConfig;
use crate::wise::at_site::{PromptAtSite, PromptBatch};
use crate::wise::draw::Draw;
use crate::wise::labelled::Labelled;
use crate::wise::near_misses::near_misses;
use crate::wise::rows::TrainingRows;
use crate::wise::shard::Setup;
use crate::{AppliedEdit, Edit, Result};

/// An earlier edit behind nothing, at the edit site. No later edit changes any of it.
pub(crate) struct EarlierEdit {
    fact: String,
    pub(crate) sequence: Labelled,
    /// Its subject prompts.
    of_subject: Vec<Labelled>,
    prompt: PromptAtSite,
    near_misses: Vec<PromptAtSite>,
}

impl EarlierEdit {
    /// What is rehearsed of it: itself and one of its subject prompts, turn about.
    pub(crate) fn in_turn(&self, turn: usize) -> &Labelled {
        let of_subject = turn % 2 == 1 && !self.of_subject.is_empty();
        if of_subject {
            &self.of_subject[turn / 2 % self.of_subject.len()]
        } else {
            &self.sequence
        }
    }
}

/// The edits of a shard so far, of a prompt edited twice the newest.
///
/// An edit that follows changes the matrix that all of them answer and are routed by, so it is trained along with
/// them: some are rehearsed in each iteration, and all are held over beta, which costs one product.
#[derive(Default)]
pub(crate) struct EarlierEdits {
    edits: Vec<EarlierEdit>,
}

impl EarlierEdits {
    /// # Errors
    /// If an edit cannot be run.
    pub(crate) fn of(model: &Model, setup: &Setup, edits: &[AppliedEdit]) -> Result<Self> {
        let mut earlier = Self::default();
        for applied in edits {
            let first = applied.first_negative;
            let (rows, site) = setup.at_site(model, &applied.edit, applied.id, first)?;
            let near_misses = near_misses(model, &setup.config, &applied.edit, applied.id)?;
            earlier.add(model, &applied.edit, &rows, &site, near_misses);
        }
        Ok(earlier)
    }

    /// Adds an edit; `rows` are its own and `site` is where they are.
    pub(crate) fn add(
        &mut self,
        model: &Model,
        edit: &Edit,
        rows: &TrainingRows,
        site: &EditSite,
        near_misses: Vec<PromptAtSite>,
    ) {
        let Some((sequence, of_subject)) = Labelled::each_alone(model, site, rows) else {
            return;
        };
        let earlier = EarlierEdit {
            fact: edit.fact(),
            sequence,
            of_subject,
            prompt: PromptAtSite::within(model, site, rows.voters(0)),
            near_misses,
        };
        match self
            .edits
            .iter_mut()
            .find(|known| known.fact == earlier.fact)
        {
            Some(known) => *known = earlier,
            None => self.edits.push(earlier),
        }
    }

    /// The edits to rehearse while `edit` trains, in turn: all but the one it corrects, in an order that the seed
    /// and the edit's id fix.
    pub(crate) fn in_turn(&self, edit: &Edit, id: usize, config: &WiseConfig) -> Vec<&EarlierEdit> {
        let mut others = self.others(edit);
        let mut draw = Draw::new(config.seed, id, 0);
        for left in (2..=others.len()).rev() {
            others.swap(left - 1, draw.below(left));
        }
        others
    }

    /// The near misses of all earlier edits but the one that `edit` corrects.
    pub(crate) fn near_misses(&self, edit: &Edit) -> Vec<&PromptAtSite> {
        let others = self.others(edit).into_iter();
        others.flat_map(|earlier| &earlier.near_misses).collect()
    }

    /// The prompts whose routes are held while `edit` trains; none if there are none.
    pub(crate) fn routes(&self, edit: &Edit) -> Option<PromptBatch> {
        let prompts: Vec<_> = self.others(edit).iter().map(|e| &e.prompt).collect();
        (!prompts.is_empty()).then(|| PromptBatch::new(&prompts, None))
    }

    /// Writes down each edit's activation under the matrix as it is now.
    pub(crate) fn measure(
        &self,
        matrix: &Tensor<2>,
        config: &WiseConfig,
        edits: &mut [AppliedEdit],
    ) {
        let prompts: Vec<_> = self.edits.iter().map(|e| &e.prompt).collect();
        if prompts.is_empty() {
            return;
        }
        let batch = PromptBatch::new(&prompts, None);
        let activations = batch.activations(matrix, config).into_data();
        for (earlier, activation) in self.edits.iter().zip(activations.iter::<f32>()) {
            for applied in edits.iter_mut().filter(|e| e.edit.fact() == earlier.fact) {
                applied.activation = activation;
            }
        }
    }

    fn others(&self, edit: &Edit) -> Vec<&EarlierEdit> {
        let others = self.edits.iter().filter(|known| known.fact != edit.fact());
        others.collect()
    }
}
