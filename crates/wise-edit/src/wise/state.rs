//! A shard as numbers and text, for files.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use wise_memory::Key;
use wise_merge::MaskSeed;
use wise_model::Model;

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
    /// The key of each edit.
    pub keys: Vec<Key>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    shard: usize,
    mask: MaskSeed,
    edits: Vec<AppliedEdit>,
}

const VALUES: &str = "values";
/// The keys' bytes, each as a number.
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
        let bytes = tensor(KEYS).unwrap_or_default();
        let bytes: Vec<u8> = bytes.iter().map(|&byte| byte as u8).collect();
        let keys =
            Key::all_from_bytes(&bytes).map_err(|at| bad(format!("it has no key at byte {at}")))?;
        let state = Self {
            mask: header.mask,
            edits: header.edits,
            values,
            keys,
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
            keys: self.keys.clone(),
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
        if state.keys.len() != state.edits.len() {
            return Err(Error::Keys {
                got: state.keys.len(),
                expected: state.edits.len(),
            });
        }
        Ok(Self {
            matrix: Tensor::from_data(TensorData::new(values, shape), &device),
            mask: state.mask,
            edits: state.edits.clone(),
            keys: state.keys.clone(),
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
        let keys = state.keys.iter().flat_map(Key::to_bytes);
        let tensors = BTreeMap::from([
            (VALUES.to_owned(), flat(state.values)),
            (KEYS.to_owned(), flat(keys.map(f32::from).collect())),
        ]);
        Ok(StatePart {
            name: format!("shard-{index}"),
            header: serde_json::to_string(&header)?,
            tensors,
        })
    }
}

fn flat(values: Vec<f32>) -> (Vec<usize>, Vec<f32>) {
    (vec![values.len()], values)
}
