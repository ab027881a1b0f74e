//! `wise export`: a model for programs that know nothing of wise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use wise_edit::{Editor, LowRank, Snapshot, Wise};
use wise_eval::{Protocols, Record};
use wise_model::{Adapter, Precision, Replaced};

use crate::args::ExportArgs;
use crate::command;
use crate::error::{Error, Result};
use crate::output::{self, LoadBar, Output, bar};

/// Rank of an adapter unless one is named.
const RANK: usize = 64;

#[derive(Debug, Serialize)]
struct Exported {
    /// The folder or file.
    path: String,
    /// Bytes of its weights.
    bytes: u64,
    /// What was edited; absent without a patch.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    edited: Option<Edited>,
    /// The adapter; absent where there is none.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    adapter: Option<OfRank>,
    /// Mean scores by name, where data were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<BTreeMap<String, Scores>>,
}

#[derive(Debug, Serialize)]
struct Edited {
    matrix: String,
    edits: usize,
    shards: usize,
}

#[derive(Debug, Serialize)]
struct OfRank {
    rank: usize,
    /// Share of the change's sum of squares.
    energy_kept: f64,
}

/// What the lost router costs.
#[derive(Debug, Serialize)]
struct Scores {
    unedited: Option<f64>,
    patch: Option<f64>,
    exported: Option<f64>,
}

/// The edited matrix with all shards of a patch in it.
struct Merged {
    editor: Wise,
    layer: usize,
    shape: [usize; 2],
    /// The model's own, row by row.
    main: Vec<f32>,
    values: Vec<f32>,
    edited: Edited,
}

/// Runs the command.
pub fn run(args: &ExportArgs, output: Output) -> Result<()> {
    if args.model.precision != Precision::F32 {
        return Err(Error::RoundedExport(args.model.precision));
    }
    let folder = args.base.as_ref().or(args.merged.as_ref());
    if let Some(folder) = folder.or(args.lora.as_ref()).filter(|f| f.exists()) {
        return Err(Error::FolderExists(folder.clone()));
    }
    if let Some(file) = &args.gguf {
        command::check_out(file, args.force)?;
    }
    let records = match (&args.data, args.format) {
        (Some(data), Some(format)) => wise_eval::read(data, format, args.n)?,
        _ => Vec::new(),
    };
    let merged = args.patch.as_deref().map(|patch| merge(args, patch));
    let mut merged = merged.transpose()?;
    let mut exported = if let Some(folder) = folder {
        to_folder(args, merged.as_ref(), folder)?
    } else if let Some(file) = &args.gguf {
        to_gguf(args, merged.as_ref(), file)?
    } else if let (Some(folder), Some(merged)) = (&args.lora, &mut merged) {
        to_adapter(args, merged, folder)?
    } else {
        return Ok(());
    };
    if let Some(merged) = merged {
        if !records.is_empty() {
            exported.scores = Some(scores(&merged, &records)?);
        }
        exported.edited = Some(merged.edited);
    }
    output.data(&exported, &text(&exported))?;
    if exported.edited.is_some() {
        output::note(
            "warning: the router stays behind: the merged memory answers every question, also those that no edit is \
             about, and where shards were merged edits may be lost",
        );
    }
    Ok(())
}

fn merge(args: &ExportArgs, patch: &Path) -> Result<Merged> {
    let patch = command::load(patch)?;
    let editor = patch.editor(command::open_model(&args.model)?)?;
    let (layer, manifest) = (patch.manifest.site.layer, &patch.manifest);
    let main = editor.model().site_weight(layer)?;
    Ok(Merged {
        layer,
        shape: manifest.site.shape,
        main: main.into_data().iter::<f32>().collect(),
        values: editor.merged()?,
        edited: Edited {
            matrix: manifest.site.matrix.clone(),
            edits: manifest.edits().len(),
            shards: manifest.shards.len(),
        },
        editor,
    })
}

/// What the model, the patch and the exported matrix score.
fn scores(merged: &Merged, records: &[Record]) -> Result<BTreeMap<String, Scores>> {
    let editor = &merged.editor;
    let unedited = Snapshot::unedited(editor.model().clone(), editor.format());
    let (patch, exported) = (editor.snapshot()?, editor.unrouted(&merged.values)?);
    let bar = bar(0, "asking [{bar:24}] {percent}% {elapsed}, {eta} left");
    let mut progress = |done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    };
    let models = [&patch, &exported];
    let scores =
        wise_eval::side_by_side(&unedited, &models, records, Protocols::BOTH, &mut progress);
    bar.finish_and_clear();
    let row = |(name, row): (String, Vec<Option<f64>>)| {
        let at = |model: usize| row.get(model).copied().flatten();
        let scores = Scores {
            unedited: at(0),
            patch: at(1),
            exported: at(2),
        };
        (name, scores)
    };
    Ok(scores?.into_iter().map(row).collect())
}

fn text(exported: &Exported) -> String {
    let mut text = format!("{} ({:.1} MB)", exported.path, exported.bytes as f64 / 1e6);
    if let Some(OfRank { rank, energy_kept }) = exported.adapter {
        let percent = 100.0 * energy_kept;
        let _ = write!(
            text,
            "; rank {rank} keeps {percent:.1} % of the change's energy"
        );
    }
    let Some(scores) = &exported.scores else {
        return text;
    };
    let _ = write!(
        text,
        "\n\n{:<40}{:<10}{:<10}exported",
        "score", "unedited", "patch"
    );
    for (name, scores) in scores {
        let cell = |score: Option<f64>| score.map_or("-".to_owned(), |s| format!("{s:.3}"));
        let [unedited, patch, exported] =
            [scores.unedited, scores.patch, scores.exported].map(cell);
        let _ = write!(text, "\n{name:<40}{unedited:<10}{patch:<10}{exported}");
    }
    text
}

fn to_folder(args: &ExportArgs, merged: Option<&Merged>, folder: &Path) -> Result<Exported> {
    let mut bar = LoadBar::new();
    let mut files = wise_model::open(&args.model.model, &mut |p| bar.update(p))?;
    let replaced = merged.map(Merged::replaced);
    let written = wise_model::write_folder(&mut files, replaced, folder, &mut |p| bar.update(p));
    bar.finish();
    written?;
    exported(folder, folder)
}

fn to_gguf(args: &ExportArgs, merged: Option<&Merged>, file: &Path) -> Result<Exported> {
    let mut bar = LoadBar::new();
    let (model, replaced) = (&args.model.model, merged.map(Merged::replaced));
    let written = wise_model::write_gguf(model, replaced, file, &mut |p| bar.update(p));
    bar.finish();
    written?;
    exported(file, file)
}

fn to_adapter(args: &ExportArgs, merged: &mut Merged, folder: &Path) -> Result<Exported> {
    let change = merged.values.iter().zip(&merged.main).map(|(s, w)| s - w);
    let change: Vec<f32> = change.collect();
    let rank = args.rank.unwrap_or(RANK);
    let low_rank = LowRank::of(&change, merged.shape, rank).map_err(wise_edit::Error::from)?;
    let adapter = Adapter {
        family: merged.editor.model().config().family,
        layer: merged.layer,
        shape: merged.shape,
        rank,
        down: &low_rank.down,
        up: &low_rank.up,
    };
    wise_model::write_adapter(&adapter, &args.model.model, folder)?;
    let product = low_rank.product(merged.shape[1]);
    merged.values = merged
        .main
        .iter()
        .zip(product)
        .map(|(w, x)| w + x)
        .collect();
    let exported = exported(folder, &folder.join("adapter_model.safetensors"))?;
    Ok(Exported {
        adapter: Some(OfRank {
            rank,
            energy_kept: low_rank.kept,
        }),
        ..exported
    })
}

fn exported(path: &Path, weights: &Path) -> Result<Exported> {
    Ok(Exported {
        path: path.display().to_string(),
        bytes: command::size(weights)?,
        edited: None,
        adapter: None,
        scores: None,
    })
}

impl Merged {
    fn replaced(&self) -> Replaced<'_> {
        Replaced {
            name: &self.edited.matrix,
            values: &self.values,
        }
    }
}
