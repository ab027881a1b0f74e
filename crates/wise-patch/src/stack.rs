//! Patches of several authors as one.

use std::collections::HashMap;

use serde::Serialize;
use wise_edit::{Overlap, RouteBy, WiseConfig};

use crate::diff::differing_settings;
use crate::{Error, Patch, Result};

/// Whose answer holds where two patches give the same prompt different targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Nobody's: the patches are not stacked.
    Refuse,
    /// That of the patch given first.
    First,
    /// That of the patch given last.
    Last,
}

/// A prompt to which patches give different targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// The prompt.
    pub prompt: String,
    /// Each target, with the patch it is from, counted from 0.
    pub targets: Vec<(usize, String)>,
}

/// Patches stacked.
#[derive(Debug, Clone, PartialEq)]
pub struct Stacked {
    /// All of them as one.
    pub patch: Patch,
    /// Prompts on which they disagreed.
    pub conflicts: Vec<Conflict>,
    /// Edits left out, as another patch has the prompt: those on which they disagreed and those on which they agreed.
    pub left_out: usize,
}

impl Patch {
    /// One patch with the side memories of several. Nothing is trained: each memory stays as it is, and an edit that is
    /// left out can no longer be recalled. Ids and shards are counted on from one patch to the next, and edits to come are
    /// made as the first patch says.
    ///
    /// # Errors
    /// [`Error::NotAlike`] if the patches are of different models or settings (seeds may differ), if memories that stood apart
    /// would be merged or masks overlap that must not, or if edits would be left out where the router cannot forget them,
    /// [`Error::Unfinished`] if one has edits that are not made yet,
    /// [`Error::Conflicts`] if they disagree and `policy` is to refuse.
    pub fn stack(patches: &[Self], policy: OnConflict) -> Result<Stacked> {
        let Some((first, others)) = patches.split_first() else {
            return Err(Error::NotAlike("no patch was given".to_owned()));
        };
        for (index, patch) in (2..).zip(others) {
            check_alike(first, patch).map_err(|detail| {
                Error::NotAlike(format!("patch {index} differs from the first: {detail}"))
            })?;
        }
        let mut planned = patches.iter().flat_map(|patch| &patch.manifest.planned);
        if let Some(planned) = planned.next() {
            return Err(Error::Unfinished(planned.edit.prompt.clone()));
        }
        let (owners, conflicts) = owners(patches, policy);
        if policy == OnConflict::Refuse && !conflicts.is_empty() {
            return Err(Error::Conflicts(conflicts));
        }
        let mut stacked = first.clone();
        let before = patches.iter().map(Patch::len).sum::<usize>();
        stacked.keep_facts(|fact| owners.get(fact) == Some(&0));
        for (index, patch) in (1..).zip(others) {
            let mut patch = patch.clone();
            patch.keep_facts(|fact| owners.get(fact) == Some(&index));
            stacked.push(patch);
        }
        let left_out = before - stacked.len();
        if left_out > 0 && !forgets(&first.manifest.config) {
            return Err(Error::NotAlike(format!(
                "they share prompts, so {left_out} edits would be left out, but only where keys decide and shards are not \
                 merged is such an edit forgotten"
            )));
        }
        check_apart(patches)?;
        Ok(Stacked {
            left_out,
            patch: stacked,
            conflicts,
        })
    }

    /// Number of edits.
    fn len(&self) -> usize {
        self.manifest.shards.iter().map(|s| s.edits.len()).sum()
    }

    /// Forgets every edit of other facts; the values of the memories stay.
    fn keep_facts(&mut self, keep: impl Fn(&str) -> bool) {
        for (shard, numbers) in self.manifest.shards.iter_mut().zip(&mut self.numbers) {
            let kept = shard.edits.iter().map(|applied| keep(&applied.edit.fact()));
            let kept: Vec<bool> = kept.collect();
            let lost = shard.edits.iter().zip(&kept).filter(|(_, kept)| !**kept);
            let lost: Vec<usize> = lost.map(|(applied, _)| applied.id).collect();
            self.manifest.provenance.retain(|id, _| !lost.contains(id));
            self.manifest.undone.extend(lost);
            let mut of_edits = kept.iter();
            shard.edits.retain(|_| of_edits.next() == Some(&true));
            let mut of_keys = kept.iter();
            numbers.keys.retain(|_| of_keys.next() == Some(&true));
        }
        let empty: Vec<bool> = self
            .manifest
            .shards
            .iter()
            .map(|s| s.edits.is_empty())
            .collect();
        let mut of_shards = empty.iter();
        self.manifest
            .shards
            .retain(|_| of_shards.next() == Some(&false));
        let mut of_numbers = empty.iter();
        self.numbers.retain(|_| of_numbers.next() == Some(&false));
        self.manifest.undone.sort_unstable();
    }

    /// Puts another patch's memories behind those that are there.
    fn push(&mut self, other: Self) {
        let (own, mut theirs) = (&mut self.manifest, other.manifest);
        let ids = own
            .shards
            .iter()
            .flat_map(|shard| &shard.edits)
            .map(|e| e.id);
        let last_id = ids.chain(own.undone.iter().copied()).max().unwrap_or(0);
        let shards = own.dealt.div_ceil(own.config.save_freq);
        // Shards that are merged with one another stay among themselves.
        let shards = shards.next_multiple_of(own.config.shards_merged());
        for shard in &mut theirs.shards {
            shard.index += shards;
            for applied in &mut shard.edits {
                applied.id += last_id;
                applied.supersedes = applied.supersedes.map(|id| id + last_id);
            }
        }
        own.dealt = shards * own.config.save_freq + theirs.dealt;
        own.undone
            .extend(theirs.undone.iter().map(|id| id + last_id));
        let provenance = theirs.provenance.into_iter();
        own.provenance
            .extend(provenance.map(|(id, said)| (id + last_id, said)));
        own.shards.extend(theirs.shards);
        self.numbers.extend(other.numbers);
    }
}

/// Whether the memories of each patch stay what they are behind one another.
fn check_apart(patches: &[Patch]) -> Result<()> {
    let Some((_, before_last)) = patches.split_last() else {
        return Ok(());
    };
    let config = &patches[0].manifest.config;
    if !before_last.is_empty() && config.mask_overlap == Overlap::Disjoint {
        return Err(Error::NotAlike(
            "their masks are disjoint, each within its own patch, but not from one patch to another".to_owned(),
        ));
    }
    let group = config.save_freq * config.shards_merged();
    let is_open = |patch: &Patch| !patch.manifest.dealt.is_multiple_of(group);
    if config.retrieve && config.shards_merged() > 1 && before_last.iter().any(is_open) {
        return Err(Error::NotAlike(format!(
            "only the last may have fewer edits than the {group} that are merged into a memory"
        )));
    }
    Ok(())
}

/// For each fact the patch whose edit holds, and the facts on which patches disagree.
fn owners(patches: &[Patch], policy: OnConflict) -> (HashMap<String, usize>, Vec<Conflict>) {
    let mut order = Vec::new();
    let mut targets: HashMap<String, Vec<(usize, &str)>> = HashMap::new();
    for (index, patch) in patches.iter().enumerate() {
        for applied in patch.manifest.holding() {
            let fact = applied.edit.fact();
            let of_fact = targets.entry(fact.clone()).or_insert_with(|| {
                order.push((fact, applied.edit.prompt.trim()));
                Vec::new()
            });
            of_fact.push((index, applied.edit.target.trim()));
        }
    }
    let (mut owners, mut conflicts) = (HashMap::new(), Vec::new());
    for (fact, prompt) in order {
        let targets = &targets[&fact];
        let agreed = targets.iter().all(|(_, target)| *target == targets[0].1);
        let owner = if policy == OnConflict::Last && !agreed {
            targets[targets.len() - 1].0
        } else {
            targets[0].0
        };
        owners.insert(fact, owner);
        if !agreed {
            let targets = targets
                .iter()
                .map(|&(index, target)| (index, target.to_owned()));
            conflicts.push(Conflict {
                prompt: prompt.to_owned(),
                targets: targets.collect(),
            });
        }
    }
    (owners, conflicts)
}

/// Whether an edit that is no longer listed cannot be recalled: its memory goes on knowing it.
fn forgets(config: &WiseConfig) -> bool {
    config.route_by == RouteBy::Keys && config.retrieve && config.merge_freq.is_none()
}

/// Whether memories of both can stand side by side; the error says what differs.
fn check_alike(a: &Patch, b: &Patch) -> Result<(), String> {
    let (of_a, of_b) = (&a.manifest, &b.manifest);
    let both = |what: &str, a: &str, b: &str| Err(format!("{what} {b}, expected {a}"));
    if of_a.model.model_id != of_b.model.model_id {
        return both("model_id", &of_a.model.model_id, &of_b.model.model_id);
    }
    let seeded = WiseConfig {
        seed: of_a.config.seed,
        ..of_b.config.clone()
    };
    if let Some(setting) = differing_settings(&of_a.config, &seeded).first() {
        return both(&setting.name, &setting.a, &setting.b);
    }
    let differs = [
        (of_a.site != of_b.site, "the edited matrix"),
        (of_a.templates != of_b.templates, "the context templates"),
        (of_a.negatives != of_b.negatives, "the router negatives"),
        (!a.reader.is_like(&b.reader), "what reads the edits' keys"),
    ];
    match differs.iter().find(|(differs, _)| *differs) {
        Some((_, what)) => Err((*what).to_owned()),
        None => Ok(()),
    }
}
