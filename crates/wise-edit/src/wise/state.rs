//! A shard as numbers and text, for files.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use wise_merge::MaskSeed;
use wise_model::Model;

use crate::wise::at_site::PromptAtSite;
use crate::wise::{Shard, WiseConfig};
use crate::{AppliedEdit, Error, Result, StatePart};

/// A shard as numbers and text.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardState {
    /// Its subspace.
    pub mask: MaskSeed,
    /// Its edits, oldest first.
    pub edits: Vec<AppliedEdit>,
    /// Its values inside the subspace, ascending, or the whole matrix where training moved values outside it.
    pub values: Vec<f32>,
    /// The key of each edit one behind the other (`edits * hidden` values); empty where edits have none.
    pub keys: Vec<f32>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    shard: usize,
    mask: MaskSeed,
    edits: Vec<AppliedEdit>,
}

const VALUES: &str = "values";
const KEYS: &str = "keys";

impl ShardState {
    /// The state that a part of an interrupted run holds, and the shard's index.
    pub(super) fn from_part(part: &StatePart) -> Result<(usize, Self)> {
        let bad = |detail: String| Error::StatePart {
            name: part.name.clone(),
            detail,
        };
        let header: Header = serde_json::from_str(&part.header).map_err(|e| bad(e.to_string()))?;
        let tensor = |name: &str| {
            let found = part.tensors.get(name);
            found.map(|(_, values)| values.clone())
        };
        let values = tensor(VALUES).ok_or_else(|| bad(format!("it has no tensor {VALUES}")))?;
        let state = Self {
            mask: header.mask,
            edits: header.edits,
            values,
            keys: tensor(KEYS).unwrap_or_default(),
        };
        Ok((header.shard, state))
    }
}

impl Shard {
    /// The shard as numbers and text.
    ///
    /// # Errors
    /// If the model has no such layer.
    pub fn state(&self, model: &Model, config: &WiseConfig) -> Result<ShardState> {
        let values = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().iter::<f32>().collect() };
        let matrix = values(self.matrix.clone());
        let main = values(model.site_weight(config.layer_for(model))?);
        let mask = self.mask.draw(matrix.len())?;
        let inside_only = (0..matrix.len()).all(|i| mask.contains(i) || matrix[i] == main[i]);
        Ok(ShardState {
            mask: self.mask,
            edits: self.edits.clone(),
            values: if inside_only {
                mask.gather(&matrix)?
            } else {
                matrix
            },
            keys: self.keys.iter().flatten().flatten().copied().collect(),
        })
    }

    /// The shard that a state describes.
    pub(super) fn from_state(
        model: &Model,
        config: &WiseConfig,
        state: &ShardState,
    ) -> Result<Self> {
        let main = model.site_weight(config.layer_for(model))?;
        let (shape, device) = (main.dims(), main.device());
        let values = if state.values.len() == shape[0] * shape[1] {
            state.values.clone()
        } else {
            let mut values: Vec<f32> = main.into_data().iter::<f32>().collect();
            let mask = state.mask.draw(values.len())?;
            mask.scatter(&state.values, &mut values)?;
            values
        };
        let keys = if state.keys.is_empty() {
            let keys = state.edits.iter();
            keys.map(|applied| key(model, config, &applied.edit.prompt))
                .collect::<Result<_>>()?
        } else if state.keys.len() == state.edits.len() * shape[0] {
            let keys = state.keys.chunks(shape[0]);
            keys.map(|key| Some(key.to_vec())).collect()
        } else {
            return Err(Error::Keys {
                got: state.keys.len(),
                expected: state.edits.len() * shape[0],
            });
        };
        Ok(Self {
            matrix: Tensor::from_data(TensorData::new(values, shape), &device),
            mask: state.mask,
            edits: state.edits.clone(),
            keys,
            replayed: Vec::new(),
        })
    }

    pub(super) fn part(
        &self,
        index: usize,
        model: &Model,
        config: &WiseConfig,
    ) -> Result<StatePart> {
        let state = self.state(model, config)?;
        let header = Header {
            shard: index,
            mask: state.mask,
            edits: state.edits,
        };
        let mut tensors = BTreeMap::from([(VALUES.to_owned(), flat(state.values))]);
        if !state.keys.is_empty() {
            tensors.insert(KEYS.to_owned(), flat(state.keys));
        }
        Ok(StatePart {
            name: format!("shard-{index}"),
            header: serde_json::to_string(&header)?,
            tensors,
        })
    }
}

/// What the router finds an edit by, where it needs it: it depends on the model and the prompt only.
pub(super) fn key(model: &Model, config: &WiseConfig, prompt: &str) -> Result<Option<Vec<f32>>> {
    let router = config.router();
    if !router.needs_keys() {
        return Ok(None);
    }
    let prompt = PromptAtSite::prompt(model, config, prompt)?;
    let at_site = PromptAtSite::run(model, config, &[prompt])?;
    Ok(at_site.first().and_then(|p| router.key(&p.main_outputs())))
}

fn flat(values: Vec<f32>) -> (Vec<usize>, Vec<f32>) {
    (vec![values.len()], values)
}
