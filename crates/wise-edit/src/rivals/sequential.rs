//! An editor that learns one edit after another into one state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wise_memory::{Query, Recall, Recalled, Route};
use wise_model::{EditSite, Model, Overlay, PromptFormat};

use crate::edit::{check_history, replaced_by};
use crate::rivals::Rival;
use crate::rivals::lesson::{Lesson, Observe};
use crate::rivals::settings::{Settings, Training};
use crate::{
    AppliedEdit, Edit, EditProgress, Editor, Error, Made, Result, Snapshot, StatePart, Watch,
};

/// Shape and values by name.
pub(super) type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// How an edit is learnt.
pub(super) trait Method: Sized + 'static {
    /// Whose method it is.
    const RIVAL: Rival;
    /// Its hyperparameters.
    type Config: Settings;
    /// What it keeps besides numbers.
    type Notes: Serialize + DeserializeOwned;

    /// Nothing learnt yet; `training` is the shared part of the resolved `config`.
    fn new(model: &Model, config: Self::Config, training: Training) -> Result<Self>;

    fn config(&self) -> &Self::Config;

    /// Learns one edit, or fails and stays as it was.
    fn learn(
        &mut self,
        model: &Model,
        lesson: &Lesson,
        observe: &mut Observe<'_>,
    ) -> Result<Learnt>;

    /// What was learnt of the edits of ids 1 to `edits`.
    fn recall(&self, edits: usize) -> Arc<dyn Recall>;

    /// Everything that learning changed.
    fn save(&self) -> (Self::Notes, Tensors);

    /// Takes up what [`Self::save`] wrote; the error says what is wrong with it.
    fn restore(&mut self, notes: Self::Notes, tensors: &Tensors) -> Result<(), String>;
}

/// What became of an edit.
#[derive(Debug)]
pub(super) struct Learnt {
    pub(super) iterations: usize,
    pub(super) edit_loss: f32,
    /// Routing activation; 0 without a router.
    pub(super) activation: f32,
}

/// An editor around a method.
pub(super) struct Sequential<M> {
    model: Arc<Model>,
    training: Training,
    method: M,
    history: Vec<AppliedEdit>,
}

#[derive(Serialize, Deserialize)]
struct Header<N> {
    history: Vec<AppliedEdit>,
    notes: N,
}

impl<M: Method> Sequential<M> {
    pub(super) fn open(model: Arc<Model>, mut config: M::Config) -> Result<Box<dyn Editor>> {
        let training = Training::resolve(&mut config, &model)?;
        Ok(Box::new(Self {
            method: M::new(&model, config, training)?,
            model,
            training,
            history: Vec::new(),
        }))
    }

    /// Makes the edits of `stream` from index `from` on.
    fn learn(&mut self, stream: &[Edit], from: usize, watch: &mut dyn Watch) -> Result<()> {
        for (index, edit) in stream.iter().enumerate().skip(from) {
            let started = Instant::now();
            let iterations = self.training.n_iter;
            let applied = self.learn_one(edit, &mut |iteration, edit_loss| {
                watch.progress(EditProgress {
                    work: None,
                    edit: index,
                    edits: stream.len(),
                    iteration,
                    iterations,
                    edit_loss,
                    router_loss: 0.0,
                });
            })?;
            self.history.push(applied.clone());
            let made = Made {
                editor: self,
                index,
                applied: &applied,
                seconds: started.elapsed().as_secs_f64(),
                at_once: 1,
            };
            if watch.made(made).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn learn_one(&mut self, edit: &Edit, observe: &mut Observe<'_>) -> Result<AppliedEdit> {
        let id = self.history.len() + 1;
        let lesson = Lesson::new(&self.model, &self.training, edit, id)?;
        let learnt = self.method.learn(&self.model, &lesson, observe)?;
        Ok(AppliedEdit {
            id,
            edit: edit.clone(),
            supersedes: replaced_by(edit, &self.history),
            first_negative: 0,
            iterations: learnt.iterations,
            edit_loss: learnt.edit_loss,
            router_loss: 0.0,
            activation: learnt.activation,
        })
    }

    /// Takes up the state of an interrupted run on this stream.
    fn restore(&mut self, part: &StatePart, stream: &[Edit]) -> Result<()> {
        let foreign = |detail: String| Error::StatePart {
            name: part.name.clone(),
            detail,
        };
        if part.name != M::RIVAL.name() {
            return Err(foreign(format!("this is {}", M::RIVAL)));
        }
        let header: Header<M::Notes> =
            serde_json::from_str(&part.header).map_err(|e| foreign(e.to_string()))?;
        check_history(&header.history, stream).map_err(foreign)?;
        self.method
            .restore(header.notes, &part.tensors)
            .map_err(foreign)?;
        self.history = header.history;
        Ok(())
    }
}

impl<M: Method> Editor for Sequential<M> {
    fn name(&self) -> &'static str {
        M::RIVAL.name()
    }

    fn model(&self) -> &Arc<Model> {
        &self.model
    }

    fn format(&self) -> PromptFormat {
        self.training.format
    }

    fn hyperparameters(&self) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(self.method.config())?)
    }

    fn seed(&self) -> u64 {
        self.training.seed
    }

    fn iterations(&self) -> usize {
        self.training.n_iter
    }

    fn apply(&mut self, edits: &[Edit], watch: &mut dyn Watch) -> Result<Vec<AppliedEdit>> {
        let before = self.history.len();
        self.learn(edits, 0, watch)?;
        Ok(self.history[before..].to_vec())
    }

    fn resume(
        &mut self,
        stream: &[Edit],
        parts: Vec<StatePart>,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        for part in parts {
            self.restore(&part, stream)?;
        }
        self.learn(stream, self.history.len(), watch)
    }

    fn history(&self) -> Vec<&AppliedEdit> {
        self.history.iter().collect()
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let (model, format) = (Arc::clone(&self.model), self.training.format);
        Ok(match self.history.len() {
            0 => Snapshot::unedited(model, format),
            edits => Snapshot::new(model, self.method.recall(edits), format),
        })
    }

    fn part_of(&self, id: usize) -> Result<StatePart> {
        if !(1..=self.history.len()).contains(&id) {
            return Err(Error::NoSuchEdit { id });
        }
        let (notes, tensors) = self.method.save();
        let header = Header {
            history: self.history.clone(),
            notes,
        };
        Ok(StatePart {
            name: M::RIVAL.name().to_owned(),
            header: serde_json::to_string(&header)?,
            tensors,
        })
    }
}

/// One change of the model that holds for every sequence: what an editor without a router has learnt.
#[derive(Debug)]
pub(crate) struct Unrouted {
    pub(crate) layer: usize,
    pub(crate) overlay: Overlay,
    /// Edits in it, of ids from 1.
    pub(crate) edits: usize,
}

impl Recall for Unrouted {
    fn layer(&self) -> usize {
        self.layer
    }

    fn recall(&self, _: &Model, _: &EditSite, queries: &[Query]) -> Vec<Recalled> {
        let changed = Recalled {
            overlay: self.overlay.clone(),
            route: Route::UNROUTED,
        };
        vec![changed; queries.len()]
    }

    fn memory_of(&self, edit: usize) -> Option<usize> {
        (1..=self.edits).contains(&edit).then_some(0)
    }
}

pub(super) fn save_tensor<const D: usize>(tensor: &Tensor<D>) -> (Vec<usize>, Vec<f32>) {
    let values = tensor.clone().into_data().iter::<f32>().collect();
    (tensor.dims().to_vec(), values)
}

/// The values of one tensor; the error says what is wrong with it.
pub(super) fn saved_values<'a>(
    tensors: &'a Tensors,
    name: &str,
    expected: &[usize],
) -> Result<&'a [f32], String> {
    let (shape, values) = tensors
        .get(name)
        .ok_or_else(|| format!("it has no tensor {name}"))?;
    let count: usize = expected.iter().product();
    if shape != expected || values.len() != count {
        return Err(format!("{name} has shape {shape:?}, expected {expected:?}"));
    }
    Ok(values)
}

pub(super) fn load_tensor<const D: usize>(
    tensors: &Tensors,
    name: &str,
    shape: [usize; D],
    device: &Device,
) -> Result<Tensor<D>, String> {
    let values = saved_values(tensors, name, &shape)?.to_vec();
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}
