//! What two patches have in common and what not.

use std::collections::HashMap;

use serde::Serialize;
use wise_edit::{AppliedEdit, WiseConfig};

use crate::Patch;

/// How two patches, A and B, differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Whether both were made for the same model.
    pub same_model: bool,
    /// Edits that only A has.
    pub only_a: Vec<AppliedEdit>,
    /// Edits that only B has.
    pub only_b: Vec<AppliedEdit>,
    /// Prompts with another target in B: A's edit and B's.
    pub changed: Vec<(AppliedEdit, AppliedEdit)>,
    /// Prompts with the same target in both.
    pub same: usize,
    /// Indices of the shards whose values differ, those that only one has among them.
    pub shards: Vec<usize>,
    /// Hyperparameters that differ.
    pub settings: Vec<Setting>,
}

/// A hyperparameter that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// A's, as JSON.
    pub a: String,
    /// B's, as JSON.
    pub b: String,
}

impl Patch {
    /// What differs in `other`, B, from this patch, A. Of a prompt edited twice the newest edit counts; ids do not.
    pub fn diff(&self, other: &Self) -> Difference {
        let (a, b) = (&self.manifest, &other.manifest);
        let (in_a, in_b) = (a.holding(), b.holding());
        let by_fact = |edits: &[&AppliedEdit]| -> HashMap<String, AppliedEdit> {
            let edits = edits.iter().map(|&e| (e.edit.fact(), e.clone()));
            edits.collect()
        };
        let (of_a, of_b) = (by_fact(&in_a), by_fact(&in_b));
        let mut difference = Difference {
            same_model: a.model.model_id == b.model.model_id,
            only_a: Vec::new(),
            only_b: Vec::new(),
            changed: Vec::new(),
            same: 0,
            shards: self.differing_shards(other),
            settings: differing_settings(&a.config, &b.config),
        };
        for edit in in_a {
            match of_b.get(&edit.edit.fact()) {
                None => difference.only_a.push(edit.clone()),
                Some(theirs) if theirs.edit.target.trim() == edit.edit.target.trim() => {
                    difference.same += 1;
                }
                Some(theirs) => difference.changed.push((edit.clone(), theirs.clone())),
            }
        }
        let missing = in_b
            .into_iter()
            .filter(|e| !of_a.contains_key(&e.edit.fact()));
        difference.only_b = missing.cloned().collect();
        difference
    }

    fn differing_shards(&self, other: &Self) -> Vec<usize> {
        let values = |patch: &Self, index: usize| {
            let at = patch
                .manifest
                .shards
                .iter()
                .position(|s| s.index == index)?;
            patch.numbers.get(at).map(|numbers| numbers.values.clone())
        };
        let shards = self.manifest.shards.iter().chain(&other.manifest.shards);
        let mut indices: Vec<usize> = shards.map(|shard| shard.index).collect();
        indices.sort_unstable();
        indices.dedup();
        indices.retain(|&index| values(self, index) != values(other, index));
        indices
    }
}

/// Hyperparameters in which two configurations differ, in the order of the first.
pub(crate) fn differing_settings(a: &WiseConfig, b: &WiseConfig) -> Vec<Setting> {
    let json = |config: &WiseConfig| serde_json::to_value(config).unwrap_or_default();
    let (a, b) = (json(a), json(b));
    let Some(of_a) = a.as_object() else {
        return Vec::new();
    };
    let differing = of_a
        .iter()
        .filter(|(name, value)| b.get(name.as_str()) != Some(value));
    differing
        .map(|(name, value)| Setting {
            name: name.clone(),
            a: value.to_string(),
            b: b.get(name)
                .map_or_else(|| "none".to_owned(), ToString::to_string),
        })
        .collect()
}
