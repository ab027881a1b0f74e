//! A patch in fewer bytes.

use std::collections::HashSet;

use half::bf16;
use wise_edit::is_closed;

use crate::Patch;
use crate::manifest::Shard;

impl Patch {
    /// Rounds the values of full shards to bf16, in which a file then holds them: half the bytes. A shard that has room that
    /// will be given, or edits to come, stays f32, as it is trained on. Returns how many shards were rounded.
    pub fn compact(&mut self) -> usize {
        let manifest = &self.manifest;
        let mut rounded = 0;
        for (shard, numbers) in manifest.shards.iter().zip(&mut self.numbers) {
            let (config, dealt) = (&manifest.config, manifest.dealt);
            let awaited = manifest.planned.iter().map(|planned| planned.shard);
            let has_room = config.refills_shards() && facts(shard) < config.save_freq;
            let is_closed = is_closed(shard.index, config, dealt, awaited);
            if is_closed && !has_room && !is_bf16(&numbers.values) {
                for value in &mut numbers.values {
                    *value = bf16::from_f32(*value).to_f32();
                }
                rounded += 1;
            }
        }
        rounded
    }
}

/// Facts that a shard holds, however often they were corrected.
fn facts(shard: &Shard) -> usize {
    let facts = shard.edits.iter().map(|applied| applied.edit.fact());
    facts.collect::<HashSet<_>>().len()
}

/// Whether bf16 holds the values as they are.
pub(crate) fn is_bf16(values: &[f32]) -> bool {
    values
        .iter()
        .all(|value| value.to_bits().trailing_zeros() >= 16)
}
