//! What a patch says about itself.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use wise_edit::{AppliedEdit, MaskSeed, Planned, WiseConfig};

/// The schema this version writes and reads.
pub const SCHEMA: u32 = 8;
/// Ids and places past this are nobody's: a program that counts on from them must not run out of numbers.
const MOST: usize = 1 << 40;
/// Shards past this are nobody's: an editor opens all up to the last.
const MOST_SHARDS: usize = 1 << 20;

/// Everything about a patch but its numbers: JSON under the key `wise` of the file's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this structure.
    pub schema: u32,
    /// The program that wrote it, with its version.
    pub tool: String,
    /// The model it belongs to.
    pub model: ModelIdentity,
    /// The edited matrix.
    pub site: Site,
    /// Resolved hyperparameters; the prompt format is among them.
    pub config: WiseConfig,
    /// Texts put in front of every prompt in training.
    pub templates: Vec<String>,
    /// Router negatives; the edits count them from 0.
    pub negatives: Vec<String>,
    /// Most facts that have had a place in a shard at once so far; a place that is free again is the next to be given.
    pub dealt: usize,
    /// Ids of the edits that were taken back; an id is never given again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub undone: Vec<usize>,
    /// Edits that were asked for and are not made yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub planned: Vec<Planned>,
    /// Where edits come from, by their ids; those that nobody said anything of are not in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provenance: BTreeMap<usize, Provenance>,
    /// Side memories, oldest first.
    pub shards: Vec<Shard>,
}

/// Where an edit comes from. No editor sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// When it was asked for, such as `2026-11-25T21:16:00Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What else there is to say, such as a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Which model a patch belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// The name it was opened by.
    pub name: String,
    /// See [`wise_model::Model::id`]; decides whether a patch fits.
    pub model_id: String,
    /// sha256 of the weight file; information only.
    pub file_sha256: String,
}

/// The edited matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its Hugging Face name.
    pub matrix: String,
    /// Its layer.
    pub layer: usize,
    /// Its shape, `[hidden, ffn]`.
    pub shape: [usize; 2],
}

/// One side memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Shard {
    /// Which one it is in the life of the patch, from 0; one left without edits is not listed.
    pub index: usize,
    /// Its subspace: seed, share of the matrix, and which part of the seed's draw.
    pub mask: MaskSeed,
    /// Smallest routing activation of its edits.
    pub min_activation: f32,
    /// Its edits, oldest first.
    pub edits: Vec<AppliedEdit>,
}

impl Manifest {
    /// Whether settings, ids and places are ones that an editor gives.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.config.check().map_err(|e| e.to_string())?;
        let places = self.dealt.div_ceil(self.config.save_freq);
        let used = self.shards.iter().map(|shard| shard.index);
        let mut used = used.chain(self.planned.iter().map(|planned| planned.shard));
        if let Some(index) = used.find(|&index| index >= places) {
            return Err(format!(
                "it has a shard {index}, expected less than {places}"
            ));
        }
        if places > MOST_SHARDS {
            return Err(format!(
                "it has room for {places} shards, expected at most {MOST_SHARDS}"
            ));
        }
        if let Some(empty) = self.shards.iter().find(|shard| shard.edits.is_empty()) {
            return Err(format!("its shard {} has no edits", empty.index));
        }
        if !self.shards.is_sorted_by(|a, b| a.index < b.index) {
            return Err("its shards are not in the order of their indices".to_owned());
        }
        let made = || self.shards.iter().flat_map(|shard| &shard.edits);
        let numbers = made().flat_map(|applied| [applied.supersedes, Some(applied.first_negative)]);
        let mut numbers = numbers.flatten().chain(self.provenance.keys().copied());
        if let Some(number) = numbers.find(|&number| number > MOST) {
            return Err(format!(
                "it counts an edit or a negative {number}, expected at most {MOST}"
            ));
        }
        let made = made().map(|applied| applied.id);
        let planned = self.planned.iter().map(|planned| planned.id);
        let mut ids: Vec<usize> = made.chain(planned).chain(self.undone.clone()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        match (ids.first(), ids.last()) {
            (Some(0), _) => Err("it has an edit 0, expected ids from 1".to_owned()),
            (_, Some(&last)) if last > MOST => {
                Err(format!("it has an edit {last}, expected at most {MOST}"))
            }
            _ if self.dealt > MOST => Err(format!(
                "it has {} places, expected at most {MOST}",
                self.dealt
            )),
            _ if ids.len() < count => Err("an id of its edits is given twice".to_owned()),
            _ => Ok(()),
        }
    }

    /// Every edit with the shard that holds it, by id.
    pub fn edits(&self) -> Vec<(&Shard, &AppliedEdit)> {
        let mut edits: Vec<(&Shard, &AppliedEdit)> = Vec::new();
        for shard in &self.shards {
            edits.extend(shard.edits.iter().map(|applied| (shard, applied)));
        }
        edits.sort_by_key(|(_, applied)| applied.id);
        edits
    }

    /// The edits whose place no later one took, by id.
    pub fn holding(&self) -> Vec<&AppliedEdit> {
        let superseded = self.superseded();
        let edits = self.edits().into_iter().map(|(_, applied)| applied);
        edits
            .filter(|applied| !superseded.contains(&applied.id))
            .collect()
    }

    /// Ids of the edits whose place a later one took.
    pub fn superseded(&self) -> HashSet<usize> {
        let edits = self.shards.iter().flat_map(|shard| &shard.edits);
        edits.filter_map(|applied| applied.supersedes).collect()
    }
}
