//! GRACE (Hartvigsen et al., "Aging with GRACE: Lifelong Model Editing with Discrete Key-Value Adaptors",
//! NeurIPS 2023, arXiv 2211.11031).

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use wise_memory::Recall;
use wise_model::{Model, Overlay, PromptFormat};

use crate::Result;
use crate::rivals::Rival;
use crate::rivals::codebook::{Codebook, Entry, Place, key_at};
use crate::rivals::lesson::{Lesson, Objective, Observe};
use crate::rivals::sequential::{Learnt, Method, Tensors, save_tensor, saved_values};
use crate::rivals::settings::{Settings, Training, require_positive, scaled, shared, uniform};

/// What a value is before it is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueInit {
    /// Uniform in 0 to 1.
    #[default]
    Cold,
    /// What the main memory puts out there.
    Warm,
}

/// Hyperparameters of GRACE (Hartvigsen et al., NeurIPS 2023, arXiv 2211.11031).
///
/// The model stays as it is. Beside one FFN value matrix stands a codebook: a key is the matrix's input at an
/// edit's last prompt token, its value is trained to be the matrix's output there. A question whose own last
/// prompt token comes within the deferral radius of its nearest key (Euclidean) gets that key's value in place
/// of the matrix's output at that one token; the rest of the answer follows from there.
///
/// A new key gets the radius `eps_init`. An edit within `eps_init` of an older key's ball expands that ball to
/// itself if both have the same target, and trains its value on; if not, both get half the distance as radius.
/// The same prompt with another target lies at distance 0, which cannot be halved: its key is trained anew, and
/// what its ball had grown to for the old target is given up.
///
/// The values are those that `EasyEdit` ships for Llama-2-7B, but for `stop_loss`: there every edit takes all
/// iterations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GraceConfig {
    /// How questions are put to the model; by default chat where it has a template.
    pub prompt_format: Option<PromptFormat>,
    /// Layer of the codebook; by default 27 of 32, in proportion. In the last layer a value could teach only the
    /// first token of a target.
    pub layer: Option<usize>,
    /// Whether the target ends with the end-of-sequence token.
    pub target_eos: bool,
    /// Rate of gradient descent.
    pub edit_lr: f64,
    /// Most iterations per edit.
    pub n_iter: usize,
    /// Training ends once the edit loss is under this, in nats per token.
    pub stop_loss: f64,
    /// Deferral radius of a new key, epsilon-init in the paper.
    pub eps_init: f64,
    /// What a value is before it is trained.
    pub value_init: ValueInit,
    /// Seed of the cold values.
    pub seed: u64,
}

impl Default for GraceConfig {
    fn default() -> Self {
        Self {
            prompt_format: None,
            layer: None,
            target_eos: true,
            edit_lr: 1.0,
            n_iter: 50,
            stop_loss: 1e-2,
            eps_init: 1.0,
            value_init: ValueInit::Cold,
            seed: 0,
        }
    }
}

impl Settings for GraceConfig {
    fn default_layer(layers: usize) -> usize {
        scaled(27, layers)
    }

    fn check(&self) -> Result<()> {
        require_positive("eps_init", self.eps_init)
    }

    shared!();
}

/// The codebook and how it is filled.
pub(super) struct Grace {
    config: GraceConfig,
    training: Training,
    device: Device,
    /// Of the edited matrix, `[hidden, ffn]`.
    shape: [usize; 2],
    codebook: Codebook,
}

/// What an entry is besides numbers.
#[derive(Serialize, Deserialize)]
pub(super) struct Note {
    label: String,
    edits: Vec<usize>,
}

const KEYS: &str = "keys";
const VALUES: &str = "values";
const RADII: &str = "radii";

impl Grace {
    fn untrained(&self, model: &Model, lesson: &Lesson, objective: &Objective) -> Tensor<2> {
        match self.config.value_init {
            ValueInit::Cold => {
                let hidden = self.shape[0];
                let values = uniform(self.training.seed, lesson.id as u64, hidden);
                Tensor::from_data(TensorData::new(values, [1, hidden]), &self.device)
            }
            ValueInit::Warm => {
                let main = model.site_output(&objective.site, &Overlay::Main);
                main.narrow(0, lesson.last_prompt_token(), 1)
            }
        }
    }
}

impl Method for Grace {
    const RIVAL: Rival = Rival::Grace;
    type Config = GraceConfig;
    type Notes = Vec<Note>;

    fn new(model: &Model, config: GraceConfig, training: Training) -> Result<Self> {
        Ok(Self {
            codebook: Codebook {
                layer: training.layer,
                eps_init: config.eps_init as f32,
                entries: Vec::new(),
            },
            config,
            training,
            device: model.device_of(training.layer)?.clone(),
            shape: model.site_weight(training.layer)?.dims(),
        })
    }

    fn config(&self) -> &GraceConfig {
        &self.config
    }

    fn learn(
        &mut self,
        model: &Model,
        lesson: &Lesson,
        observe: &mut Observe<'_>,
    ) -> Result<Learnt> {
        let position = lesson.last_prompt_token();
        // From the prompt alone, as a question comes: the same prompt has the same key, whatever follows.
        let asked = model.prefix(&[lesson.prompt.clone().into()], self.training.layer, None)?;
        let key = key_at(&asked, position);
        let place = self.codebook.place(&key, &lesson.label);
        let read_at = lesson.tokens_before_the_target();
        let objective = Objective::new(model, self.training.layer, lesson, read_at)?;
        let start = match place {
            Place::Same { entry, .. } => self.codebook.entries[entry].value.clone().unsqueeze(),
            Place::New { .. } | Place::Split { .. } => self.untrained(model, lesson, &objective),
        };
        let flat = |value: &Tensor<2>| value.clone().reshape([self.shape[0]]);
        let descended = self.training.descend(
            lesson,
            vec![start],
            |value| {
                objective.loss(&Overlay::Output {
                    position,
                    value: flat(&value[0]),
                })
            },
            |value| value,
            observe,
        )?;
        let value = flat(&descended.parameters[0]);
        let (label, id) = (&lesson.label, lesson.id);
        self.codebook.put(place, key.clone(), value, label, id);
        Ok(Learnt {
            iterations: descended.iterations,
            edit_loss: descended.loss,
            activation: self.codebook.route(&key).activation,
        })
    }

    fn recall(&self, _: usize) -> Arc<dyn Recall> {
        Arc::new(self.codebook.clone())
    }

    fn save(&self) -> (Vec<Note>, Tensors) {
        let entries = &self.codebook.entries;
        let [hidden, ffn] = self.shape;
        let note = |entry: &Entry| Note {
            label: entry.label.clone(),
            edits: entry.edits.clone(),
        };
        let keys = entries.iter().flat_map(|entry| entry.key.to_vec());
        let values = entries.iter().flat_map(|entry| save_tensor(&entry.value).1);
        let radii = entries.iter().map(|entry| entry.radius);
        let count = entries.len();
        let tensors = [
            (KEYS, vec![count, ffn], keys.collect()),
            (VALUES, vec![count, hidden], values.collect()),
            (RADII, vec![count], radii.collect()),
        ];
        let named = tensors.map(|(name, shape, values)| (name.to_owned(), (shape, values)));
        (entries.iter().map(note).collect(), Tensors::from(named))
    }

    fn restore(&mut self, notes: Vec<Note>, tensors: &Tensors) -> Result<(), String> {
        let [hidden, ffn] = self.shape;
        let count = notes.len();
        let keys = saved_values(tensors, KEYS, &[count, ffn])?;
        let values = saved_values(tensors, VALUES, &[count, hidden])?;
        let radii = saved_values(tensors, RADII, &[count])?;
        let value = |values: &[f32]| {
            Tensor::from_data(TensorData::new(values.to_vec(), [hidden]), &self.device)
        };
        let entry = |(index, note): (usize, Note)| Entry {
            key: keys[index * ffn..(index + 1) * ffn].into(),
            value: value(&values[index * hidden..(index + 1) * hidden]),
            radius: radii[index],
            label: note.label,
            edits: note.edits,
        };
        self.codebook.entries = notes.into_iter().enumerate().map(entry).collect();
        Ok(())
    }
}
