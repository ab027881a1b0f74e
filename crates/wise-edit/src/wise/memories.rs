//! From shards to the memories that answer: WISE-Merge and WISE-Retrieve.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use wise_memory::{KeyReader, Memories, SideMemory};
use wise_model::Model;

use crate::Result;
use crate::wise::{Shard, WiseConfig};

/// The shards of a stream that hold edits, and how far the stream has come.
pub(crate) struct Held {
    /// With their indices, which ascend.
    pub(crate) shards: Vec<(usize, Shard)>,
    /// Places that were given.
    pub(crate) dealt: usize,
    /// Indices of the shards that have edits to come.
    pub(crate) awaited: Vec<usize>,
}

/// Whether all edits of a shard are made and all its places were given, where `dealt` were given in all and the shards of
/// `awaited` have edits to come. It stays closed when edits are taken back, but while one that takes such a place is awaited.
pub fn is_closed(
    index: usize,
    config: &WiseConfig,
    dealt: usize,
    mut awaited: impl Iterator<Item = usize>,
) -> bool {
    dealt >= (index + 1) * config.save_freq && awaited.all(|shard| shard != index)
}

/// The memories that a router picks from. Merged ones are derived anew each time, so shards stay what they are.
///
/// * WISE-Retrieve: each closed group of `merge_freq / save_freq` shards is merged into one memory, the shards
///   after it stand for themselves, and the router picks one.
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
    held: &Held,
) -> Result<Memories> {
    let router = config.router(reader.reads_relations());
    let group = if config.retrieve {
        config.shards_merged()
    } else {
        usize::MAX
    };
    let is_closed =
        |index: usize| is_closed(index, config, held.dealt, held.awaited.iter().copied());
    let group_of = |(index, _): &(usize, Shard)| index / group;
    let mut side = Vec::new();
    for shards in held.shards.chunk_by(|a, b| group_of(a) == group_of(b)) {
        let first = group_of(&shards[0]) * group;
        let is_complete = || (first..first + group).all(is_closed);
        let shards = shards.iter().map(|(_, shard)| shard);
        if !config.retrieve || is_complete() {
            let shards: Vec<&Shard> = shards.collect();
            side.push(merged(model, config, &shards)?);
        } else {
            side.extend(shards.map(Shard::memory));
        }
    }
    // The reference's veto belongs to the open memory, and between two shards that one is still empty.
    let last = held.shards.last();
    let is_between = last.is_some_and(|(index, _)| is_closed(*index));
    if config.compat.is_easyedit() && is_between {
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

/// Task vectors of equal weight, merged as `merge_alg` says.
pub(crate) fn merged(model: &Model, config: &WiseConfig, shards: &[&Shard]) -> Result<SideMemory> {
    if let [only] = shards {
        return Ok(only.memory());
    }
    let main = model.site_weight(config.layer_for(model))?;
    let (shape, device) = (main.dims(), main.device());
    let values = |tensor: Tensor<2>| -> Vec<f32> { tensor.into_data().iter::<f32>().collect() };
    let delta = |shard: &&Shard| values(shard.matrix.clone() - main.clone());
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
