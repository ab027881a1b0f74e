//! `wise patch`: looks into patches, checks and signs them, takes edits back, and puts patches together.

mod compact;
mod diff;
mod sign;
mod stack;
mod undo;

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use wise_edit::{AppliedEdit, MaskSeed, Planned};
use wise_patch::{Patch, Provenance};

use crate::args::PatchCommand;
use crate::command::size;
use crate::error::{Error, Result};
use crate::output::Output;

/// An edit as a patch holds it.
#[derive(Debug, Serialize)]
struct Held<'a> {
    #[serde(flatten)]
    applied: &'a AppliedEdit,
    /// Whether a later edit of the same prompt took its place.
    superseded: bool,
    shard: usize,
    mask: MaskSeed,
    #[serde(flatten)]
    provenance: Provenance,
}

/// An edit that is not made yet.
#[derive(Debug, Serialize)]
struct Awaited<'a> {
    #[serde(flatten)]
    planned: &'a Planned,
    #[serde(flatten)]
    provenance: Provenance,
}

#[derive(Debug, Serialize)]
struct Listed<'a> {
    patch: String,
    model: &'a str,
    layer: usize,
    bytes: u64,
    bytes_per_edit: f64,
    undone: &'a [usize],
    edits: Vec<Held<'a>>,
    /// Asked for and not made yet.
    planned: &'a [Planned],
}

/// Runs the command.
pub fn run(which: &PatchCommand, output: Output) -> Result<()> {
    match which {
        PatchCommand::List(args) => list(&args.patch, output),
        PatchCommand::Show(args) => show(&args.patch, args.id, output),
        PatchCommand::Verify(args) => sign::verify(args, output),
        PatchCommand::Sign(args) => sign::sign(args, output),
        PatchCommand::Undo(args) => undo::run(args, output),
        PatchCommand::Diff(args) => diff::run(args, output),
        PatchCommand::Stack(args) => stack::run(args, output),
        PatchCommand::Compact(args) => compact::run(args, output),
    }
}

fn list(path: &Path, output: Output) -> Result<()> {
    let patch = Patch::load(path)?;
    let (manifest, edits, bytes) = (&patch.manifest, held(&patch), size(path)?);
    let listed = Listed {
        patch: path.display().to_string(),
        model: &manifest.model.name,
        layer: manifest.site.layer,
        bytes,
        bytes_per_edit: bytes as f64 / edits.len().max(1) as f64,
        undone: &manifest.undone,
        edits,
        planned: &manifest.planned,
    };
    let mut text = String::new();
    for edit in &listed.edits {
        let AppliedEdit { id, edit: said, .. } = edit.applied;
        let superseded = if edit.superseded { ", superseded" } else { "" };
        let (prompt, target, shard) = (&said.prompt, &said.target, edit.shard);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{id}  {prompt} -> {target}  (shard {shard}{superseded})"
        );
    }
    for Planned { id, edit, shard } in listed.planned {
        let (prompt, target) = (&edit.prompt, &edit.target);
        let _ = writeln!(
            text,
            "{id}  {prompt} -> {target}  (shard {shard}, not made yet)"
        );
    }
    let _ = write!(
        text,
        "{} in {} bytes, {:.0} bytes per edit, for {} layer {}",
        count(listed.edits.len()),
        bytes,
        listed.bytes_per_edit,
        listed.model,
        listed.layer
    );
    output.data(&listed, &text)
}

fn show(path: &Path, id: usize, output: Output) -> Result<()> {
    let patch = Patch::load(path)?;
    check_ids(&patch, path, &[id])?;
    for edit in held(&patch).iter().filter(|edit| edit.applied.id == id) {
        output.data(edit, &in_full(edit))?;
    }
    let mut planned = patch.manifest.planned.iter();
    if let Some(planned) = planned.find(|planned| planned.id == id) {
        let Planned { edit, shard, .. } = planned;
        let (prompt, target) = (&edit.prompt, &edit.target);
        let text = format!("edit {id}, not made yet: {prompt} -> {target}  (shard {shard})");
        let provenance = patch.manifest.provenance.get(&id);
        let provenance = provenance.cloned().unwrap_or_default();
        let Provenance { when, by, note } = &provenance;
        let said = [("when", when), ("by", by), ("note", note)].into_iter();
        let said = said.filter_map(|(name, said)| Some(format!("{name:<12}{}", said.as_ref()?)));
        let text = std::iter::once(text).chain(said).collect::<Vec<_>>();
        let awaited = Awaited {
            planned,
            provenance,
        };
        output.data(&awaited, &text.join("\n"))?;
    }
    Ok(())
}

fn in_full(held: &Held<'_>) -> String {
    let AppliedEdit { id, edit, .. } = held.applied;
    let none = || "none".to_owned();
    let superseded = if held.superseded { "yes" } else { "no" };
    let supersedes = held.applied.supersedes;
    let MaskSeed { seed, ratio, part } = held.mask;
    let Provenance { when, by, note } = &held.provenance;
    let lines = [
        ("edit", id.to_string()),
        ("prompt", edit.prompt.clone()),
        ("target", edit.target.clone()),
        ("subject", edit.subject.clone().unwrap_or_else(none)),
        ("when", when.clone().unwrap_or_else(none)),
        ("by", by.clone().unwrap_or_else(none)),
        ("note", note.clone().unwrap_or_else(none)),
        (
            "supersedes",
            supersedes.map_or_else(none, |id| id.to_string()),
        ),
        ("superseded", superseded.to_owned()),
        ("iterations", held.applied.iterations.to_string()),
        ("edit loss", held.applied.edit_loss.to_string()),
        ("router loss", held.applied.router_loss.to_string()),
        ("activation", held.applied.activation.to_string()),
        ("shard", held.shard.to_string()),
        ("mask", format!("seed {seed}, ratio {ratio}, part {part}")),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<12}{value}"));
    lines.join("\n")
}

fn held(patch: &Patch) -> Vec<Held<'_>> {
    let superseded = patch.manifest.superseded();
    let said = &patch.manifest.provenance;
    let edits = patch.manifest.edits().into_iter();
    edits
        .map(|(shard, applied)| Held {
            applied,
            superseded: superseded.contains(&applied.id),
            shard: shard.index,
            mask: shard.mask,
            provenance: said.get(&applied.id).cloned().unwrap_or_default(),
        })
        .collect()
}

fn check_ids(patch: &Patch, path: &Path, ids: &[usize]) -> Result<()> {
    let known = patch.manifest.edits().into_iter();
    let mut known: Vec<usize> = known.map(|(_, applied)| applied.id).collect();
    known.extend(patch.manifest.planned.iter().map(|planned| planned.id));
    known.sort_unstable();
    match ids.iter().find(|id| !known.contains(id)) {
        Some(&id) => Err(Error::NoSuchEdit {
            path: path.to_owned(),
            id,
            ids: known,
        }),
        None => Ok(()),
    }
}

fn count(edits: usize) -> String {
    format!("{edits} {}", if edits == 1 { "edit" } else { "edits" })
}
