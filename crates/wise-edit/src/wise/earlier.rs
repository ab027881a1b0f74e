//! What a shard's earlier edits bring to the training of the next one.

use burn::tensor::Tensor;
use wise_memory::Key;
use wise_model::{EditSite, Model};

use crate::wise::at_site::{PromptAtSite, PromptBatch};
use crate::wise::draw::Draw;
use crate::wise::labelled::Labelled;
use crate::wise::near_misses::near_misses;
use crate::wise::questions::Question;
use crate::wise::rows::TrainingRows;
use crate::wise::shard::Setup;
use crate::wise::subject::{plain_subject, questions_of_all_kinds};
use crate::wise::{RouteBy, WiseConfig};
use crate::{AppliedEdit, Edit, Result};

/// An earlier edit behind nothing, at the edit site.
pub(crate) struct EarlierEdit {
    id: usize,
    edit: Edit,
    first_negative: usize,
    fact: String,
    subject: Option<String>,
    key: Key,
    sequence: Labelled,
    /// Questions about its subject that shall give its target too.
    of_subject: Vec<(Question, Labelled)>,
    prompt: PromptAtSite,
    near_misses: Vec<PromptAtSite>,
}

impl EarlierEdit {
    /// What is rehearsed of it: itself and one of its subject prompts, turn about.
    fn in_turn(&self, turn: usize) -> &Labelled {
        let of_subject = turn % 2 == 1 && !self.of_subject.is_empty();
        if of_subject {
            &self.of_subject[turn / 2 % self.of_subject.len()].1
        } else {
            &self.sequence
        }
    }

    fn is_about(&self, subject: Option<&String>) -> bool {
        subject.is_some() && self.subject.as_ref() == subject
    }

    /// Gives up the questions that are not its own among others of its subject.
    fn leave_to(&mut self, others: &[&Key], model: &Model, setup: &Setup) -> Result<()> {
        if !self.of_subject.iter().any(|(q, _)| q.is_of_any_kind()) {
            self.of_subject.retain(|(q, _)| q.is_of(&self.key, others));
            return Ok(());
        }
        let questions = setup.asking_for(model, &self.key, others)?;
        let (id, first) = (self.id, self.first_negative);
        let (rows, site) = setup.at_site(model, &self.edit, id, first, &questions)?;
        if let Some((_, of_subject)) = Labelled::each_alone(model, &site, &rows) {
            self.of_subject = questions.into_iter().zip(of_subject).collect();
        }
        Ok(())
    }
}

/// The earlier edits that are trained along with one, some in each iteration, in turn.
#[derive(Default)]
pub(crate) struct Rehearsal<'a> {
    same_subject: Vec<&'a EarlierEdit>,
    others: Vec<&'a EarlierEdit>,
}

impl<'a> Rehearsal<'a> {
    pub(crate) fn len(&self) -> usize {
        self.same_subject.len() + self.others.len()
    }

    /// All of them, each behind nothing.
    pub(crate) fn sequences(&self) -> Vec<&'a Labelled> {
        let all = self.same_subject.iter().chain(&self.others);
        all.map(|earlier| &earlier.sequence).collect()
    }

    /// `free` of those whose turn it is in an iteration of `count`; half of them of the same subject, where there are so
    /// many.
    pub(crate) fn in_turn(&self, iteration: usize, count: usize, free: usize) -> Vec<&'a Labelled> {
        let (same, others) = (self.same_subject.len(), self.others.len());
        let of_same = same.min(free.div_ceil(2)).max(free.saturating_sub(others));
        let turn = |edits: &[&'a EarlierEdit], first: usize, i: usize| {
            edits[(first + i) % edits.len()].in_turn(iteration + i)
        };
        let same = (0..of_same).map(|i| turn(&self.same_subject, iteration * of_same, i));
        let first = iteration * count.saturating_sub(of_same);
        let others = (0..free - of_same).map(|i| turn(&self.others, first, i));
        same.chain(others).collect()
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
    pub(crate) fn of(
        model: &Model,
        setup: &Setup,
        edits: &[AppliedEdit],
        keys: &[Key],
    ) -> Result<Self> {
        let mut earlier = Self::default();
        for (applied, key) in edits.iter().zip(keys) {
            let (edit, id) = (&applied.edit, applied.id);
            let questions = earlier.tell_apart(model, setup, edit, id, key)?;
            let first = applied.first_negative;
            let (rows, site) = setup.at_site(model, edit, id, first, &questions)?;
            let near_misses = near_misses(model, &setup.config, edit, id)?;
            earlier.add(model, applied, key, questions, (&rows, &site), near_misses);
        }
        Ok(earlier)
    }

    /// The questions about its subject that an edit trains on beside its prompt. Where it is the only one of its subject
    /// they are of all kinds; several of one subject, the earlier ones too, have those each that ask for what they do.
    ///
    /// # Errors
    /// If a question cannot be run.
    pub(crate) fn tell_apart(
        &mut self,
        model: &Model,
        setup: &Setup,
        edit: &Edit,
        id: usize,
        key: &Key,
    ) -> Result<Vec<Question>> {
        let config = &setup.config;
        if config.route_by == RouteBy::Activation || config.subject_prompts == 0 {
            return Ok(Vec::new());
        }
        let subject = plain_subject(edit);
        let fact = edit.fact();
        let same =
            |earlier: &EarlierEdit| earlier.is_about(subject.as_ref()) && earlier.fact != fact;
        let same: Vec<usize> = (0..self.edits.len())
            .filter(|&i| same(&self.edits[i]))
            .collect();
        if same.is_empty() {
            return Ok(questions_of_all_kinds(config, id));
        }
        let keys: Vec<Key> = same.iter().map(|&i| self.edits[i].key.clone()).collect();
        for (place, &index) in same.iter().enumerate() {
            let but_own = keys.iter().enumerate().filter(|(other, _)| *other != place);
            let others: Vec<&Key> = but_own.map(|(_, key)| key).chain([key]).collect();
            self.edits[index].leave_to(&others, model, setup)?;
        }
        setup.asking_for(model, key, &keys.iter().collect::<Vec<_>>())
    }

    /// Adds an edit that has been trained on `questions`; `rows` are its own, where they are beside them.
    pub(crate) fn add(
        &mut self,
        model: &Model,
        applied: &AppliedEdit,
        key: &Key,
        questions: Vec<Question>,
        (rows, site): (&TrainingRows, &EditSite),
        near_misses: Vec<PromptAtSite>,
    ) {
        let Some((sequence, of_subject)) = Labelled::each_alone(model, site, rows) else {
            return;
        };
        let earlier = EarlierEdit {
            id: applied.id,
            edit: applied.edit.clone(),
            first_negative: applied.first_negative,
            fact: applied.edit.fact(),
            subject: plain_subject(&applied.edit),
            key: key.clone(),
            sequence,
            of_subject: questions.into_iter().zip(of_subject).collect(),
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
    pub(crate) fn in_turn(&self, edit: &Edit, id: usize, config: &WiseConfig) -> Rehearsal<'_> {
        let mut others = self.others(edit);
        let mut draw = Draw::new(config.seed, id, 0);
        for left in (2..=others.len()).rev() {
            others.swap(left - 1, draw.below(left));
        }
        let subject = plain_subject(edit);
        let same = |earlier: &&EarlierEdit| earlier.is_about(subject.as_ref());
        let (same_subject, others) = others.into_iter().partition(same);
        Rehearsal {
            same_subject,
            others,
        }
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
        let facts: Vec<String> = edits.iter().map(|applied| applied.edit.fact()).collect();
        for (earlier, activation) in self.edits.iter().zip(activations.iter::<f32>()) {
            let of_fact = edits.iter_mut().zip(&facts);
            for (applied, _) in of_fact.filter(|(_, fact)| **fact == earlier.fact) {
                applied.activation = activation;
            }
        }
    }

    fn others(&self, edit: &Edit) -> Vec<&EarlierEdit> {
        let fact = edit.fact();
        let others = self.edits.iter().filter(|known| known.fact != fact);
        others.collect()
    }
}
