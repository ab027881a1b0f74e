//! A patch in fewer bytes.

use half::bf16;
use wise_edit::is_closed;

use crate::Patch;

impl Patch {
    /// Rounds the values of closed shards to bf16, in which a file then holds them: half the bytes. A shard that is still
    /// filled stays f32, as it is trained on. Returns how many shards were rounded.
    pub fn compact(&mut self) -> usize {
        let manifest = &self.manifest;
        let mut rounded = 0;
        for (shard, numbers) in manifest.shards.iter().zip(&mut self.numbers) {
            let (config, dealt) = (&manifest.config, manifest.dealt);
            let awaited = manifest.planned.iter().map(|planned| planned.shard);
            if is_closed(shard.index, config, dealt, awaited) && !is_bf16(&numbers.values) {
                for value in &mut numbers.values {
                    *value = bf16::from_f32(*value).to_f32();
                }
                rounded += 1;
            }
        }
        rounded
    }
}

/// Whether bf16 holds the values as they are.
pub(crate) fn is_bf16(values: &[f32]) -> bool {
    values
        .iter()
        .all(|value| value.to_bits().trailing_zeros() >= 16)
}
