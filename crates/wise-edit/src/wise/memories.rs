//! From shards to the memories that answer: WISE-Merge and WISE-Retrieve.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use wise_memory::{KeyReader, Memories, SideMemory};
use wise_model::Model;

use crate::Result;
use crate::wise::{Compatibility, Shard, WiseConfig};

/// The memories that a router picks from. Merged ones are derived anew each time, so shards stay what they are.
///
/// * WISE-Retrieve: each full group of `merge_freq / save_freq` shards is merged into one memory, the shards
///   after it stand for themselves, and the memory of largest activation answers.
/// * WISE-Merge: all shards are merged into one memory.
///
/// A merged memory keeps the activation of each of its edits, so its threshold is the smallest of theirs.
///
/// # Errors
/// If the model has no such layer, or the merge fails.
pub(crate) fn memories(
    model: &Model,
    config: &WiseConfig,
    reader: &Arc<KeyReader>,
    shards: &[Shard],
) -> Result<Memories> {
    let router = config.router(reader.reads_relations());
    let group = match (config.retrieve, config.merge_freq) {
        (false, _) => shards.len().max(1),
        (true, Some(merge_freq)) => merge_freq / config.save_freq,
        (true, None) => 1,
    };
    let mut side = Vec::new();
    for group_of in shards.chunks(group) {
        let is_complete = group_of.len() == group && group_of.iter().all(|s| is_full(s, config));
        if is_complete || !config.retrieve {
            side.push(merged(model, config, group_of)?);
        } else {
            side.extend(group_of.iter().map(Shard::memory));
        }
    }
    // The reference's veto belongs to the open memory, and between two shards that one is still empty.
    let closed = |shard: &Shard| is_full(shard, config);
    if config.compat.is_easyedit() && shards.last().is_some_and(closed) {
        side.push(SideMemory {
            matrix: model.site_weight(config.layer_for(model))?,
            edits: Vec::new(),
        });
    }
    Ok(Memories {
        layer: config.layer_for(model),
        side,
        reader: router.needs_keys().then(|| Arc::clone(reader)),
        router,
    })
}

/// Whether the next fact opens another shard.
fn is_full(shard: &Shard, config: &WiseConfig) -> bool {
    let facts = match config.compat {
        Compatibility::Wise => shard.memory().edits.len(),
        Compatibility::Paper | Compatibility::EasyEdit => shard.edits().len(),
    };
    facts >= config.save_freq
}

/// Task vectors of equal weight, merged as `merge_alg` says.
pub(crate) fn merged(model: &Model, config: &WiseConfig, shards: &[Shard]) -> Result<SideMemory> {
    if let [only] = shards {
        return Ok(only.memory());
    }
    let main = model.site_weight(config.layer_for(model))?;
    let (shape, device) = (main.dims(), main.device());
    let values = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().iter::<f32>().collect() };
    let delta = |shard: &Shard| values(shard.matrix.clone() - main.clone());
    let deltas: Vec<Vec<f32>> = shards.iter().map(delta).collect();
    let deltas: Vec<&[f32]> = deltas.iter().map(Vec::as_slice).collect();
    let weights = vec![1.0 / shards.len() as f64; shards.len()];
    let merge = config.merge_alg.build(config.density, config.seed)?;
    let matrix = merge.merge(&values(main), &deltas, &weights)?;
    Ok(SideMemory {
        matrix: Tensor::from_data(TensorData::new(matrix, shape), &device),
        edits: shards
            .iter()
            .flat_map(|shard| shard.memory().edits)
            .collect(),
    })
}
