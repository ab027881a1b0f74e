//! `wise relations`: learns what a model's prompts ask for.

use std::path::Path;

use serde::Serialize;
use wise_edit::RelationReader;
use wise_eval::Format;

use crate::args::RelationsArgs;
use crate::command;
use crate::error::{Error, Result};
use crate::output::{Output, bar};

#[derive(Debug, Serialize)]
struct Learnt {
    relations: String,
    layer: usize,
    pairs: Vec<usize>,
    bytes: u64,
}

/// Runs the command.
pub fn run(args: &RelationsArgs, output: Output) -> Result<()> {
    let sources = args.data.iter().map(|path| pairs(path, args.n));
    let sources = sources.collect::<Result<Vec<_>>>()?;
    command::check_out(&args.out, args.force)?;
    let model = command::open_model(&args.model)?;
    let layer = args
        .layer
        .unwrap_or_else(|| RelationReader::layer_for(&model));

    let bar = bar(
        0,
        "reading prompts [{bar:24}] {percent}% {elapsed}, {eta} left",
    );
    let relations = RelationReader::learn(&model, layer, &sources, &mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    wise_patch::save_relations(&args.out, &relations?, &model)?;
    let learnt = Learnt {
        relations: args.out.display().to_string(),
        layer,
        pairs: sources.iter().map(Vec::len).collect(),
        bytes: command::size(&args.out)?,
    };
    let text = format!(
        "learnt from {} pairs at layer {layer}: {} ({} kB)",
        learnt.pairs.iter().sum::<usize>(),
        learnt.relations,
        learnt.bytes / 1000,
    );
    output.data(&learnt, &text);
    Ok(())
}

/// Prompts that ask for the same: a record's and its rephrasing, and the same of another subject.
fn pairs(path: &Path, limit: Option<usize>) -> Result<Vec<[String; 2]>> {
    let mut pairs = Vec::new();
    for record in wise_eval::read(path, Format::Jsonl, limit)? {
        let alike = record.locality.into_iter();
        let alike = alike.filter(|probe| probe.group.as_deref() == Some("near_miss"));
        let others = record.rephrase.into_iter().chain(alike.map(|p| p.prompt));
        pairs.extend(others.map(|other| [record.prompt.clone(), other]));
    }
    if pairs.is_empty() {
        return Err(Error::NoPairs(path.to_owned()));
    }
    Ok(pairs)
}
