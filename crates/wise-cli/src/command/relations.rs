//! `wise relations`: learns what a model's prompts ask for.

use std::path::Path;

use serde::Serialize;
use wise_edit::{Asked, ChosenFit, KeyReader, Learnt, RelationReader};
use wise_eval::{Format, Record};

use crate::args::RelationsArgs;
use crate::command;
use crate::error::{Error, Result};
use crate::output::{Output, bar};

/// Records of the wordings that are on board, some twenty of each relation.
const WORDINGS: usize = 3200;

#[derive(Debug, Serialize)]
struct Written {
    relations: String,
    layer: usize,
    pairs: Vec<usize>,
    relation_fit: f64,
    held_out: Option<HeldOut>,
    bytes: u64,
}

/// What the fit does to prompts that were held out when it was chosen.
#[derive(Debug, Serialize)]
struct HeldOut {
    prompts: usize,
    rephrasings_pass: f64,
    else_of_subject_pass: f64,
}

/// Runs the command.
pub fn run(args: &RelationsArgs, output: Output) -> Result<()> {
    let mut sources = vec![wise_edit::wordings(args.n.unwrap_or(WORDINGS))];
    for path in &args.data {
        sources.push(asked(path, args.n)?);
    }
    command::check_out(&args.out, args.force)?;
    let model = command::open_model(&args.model)?;
    let layer = args
        .layer
        .unwrap_or_else(|| RelationReader::layer_for(&model));
    // Found out now, not after the reading.
    model.device_of(layer)?;
    let keys = KeyReader::new(&model, &wise_edit::ordinary_texts())?;

    let bar = bar(
        0,
        "reading prompts [{bar:24}] {percent}% {elapsed}, {eta} left",
    );
    let mut progress = |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    };
    let learnt = RelationReader::learn(&model, layer, &keys, &sources, &mut progress);
    bar.finish_and_clear();
    let learnt = learnt?;
    wise_patch::save_relations(&args.out, &learnt.relations, &model)?;
    let written = Written {
        relations: args.out.display().to_string(),
        layer,
        pairs: learnt.pairs.clone(),
        relation_fit: learnt.relations.fit,
        held_out: held_out(&learnt),
        bytes: command::size(&args.out)?,
    };
    output.data(&written, &text(&written))
}

fn held_out(learnt: &Learnt) -> Option<HeldOut> {
    let held_out = |chosen: ChosenFit| HeldOut {
        prompts: learnt.held_out,
        rephrasings_pass: chosen.rephrasings,
        else_of_subject_pass: chosen.else_of_subject,
    };
    learnt.chosen.map(held_out)
}

fn text(written: &Written) -> String {
    let why = match &written.held_out {
        Some(held_out) => format!(
            "of {} prompts held out {:.2} of the rephrasings fit better and {:.2} of the other questions about the same subject",
            held_out.prompts, held_out.rephrasings_pass, held_out.else_of_subject_pass
        ),
        None => {
            "the default: not every source has ten records and prompts of group same_subject among them"
                .to_owned()
        }
    };
    format!(
        "learnt from {} pairs at layer {}: {} ({} kB)\nrelation_fit {:.2}; {why}",
        written.pairs.iter().sum::<usize>(),
        written.layer,
        written.relations,
        written.bytes / 1000,
        written.relation_fit,
    )
}

/// A file's prompts, each with what is asked beside it.
fn asked(path: &Path, limit: Option<usize>) -> Result<Vec<Asked>> {
    let records = wise_eval::read(path, Format::Jsonl, limit)?;
    let asked: Vec<Asked> = records.into_iter().map(asked_of).collect();
    let pairs = |asked: &Asked| asked.rephrasings.len() + asked.of_others.len();
    if asked.iter().map(pairs).sum::<usize>() == 0 {
        return Err(Error::NoPairs(path.to_owned()));
    }
    Ok(asked)
}

fn asked_of(record: Record) -> Asked {
    let subject = wise_edit::subject(&record.edit());
    let of_group = |group: &str| {
        let probes = record.locality.iter();
        let of_group = probes.filter(|probe| probe.group.as_deref() == Some(group));
        of_group.map(|probe| probe.prompt.clone()).collect()
    };
    Asked {
        of_others: of_group("near_miss"),
        else_of_subject: of_group("same_subject"),
        subject,
        prompt: record.prompt,
        rephrasings: record.rephrase.into_iter().collect(),
    }
}
