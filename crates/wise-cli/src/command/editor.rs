//! Which editor the arguments of `wise eval` name.

use std::sync::Arc;

use serde::Deserialize;
use toml::Table;
use wise_edit::{Editor, Retrieval, RetrievalConfig, Rival, RivalConfig, Wise, WiseConfig};
use wise_model::Model;

use crate::args::{ConfigArgs, EditorName, EvalArgs};
use crate::config;
use crate::error::{Error, Result};

/// An editor that is known and configured, but has no model yet.
pub enum Chosen {
    Wise {
        config: Box<WiseConfig>,
        negatives: Vec<String>,
        args: ConfigArgs,
    },
    Rival(RivalConfig),
    Retrieval(RetrievalConfig),
}

/// The editor that the arguments name, with its hyperparameters.
pub fn choose(args: &EvalArgs) -> Result<Chosen> {
    let rival = match args.editor {
        EditorName::Wise => {
            let resolved = config::resolve(&args.config, &args.model.model)?;
            return Ok(Chosen::Wise {
                negatives: config::negatives(&args.config, &resolved)?,
                config: Box::new(resolved),
                args: args.config.clone(),
            });
        }
        EditorName::FtM => Rival::FtM,
        EditorName::FtL => Rival::FtL,
        EditorName::Grace => Rival::Grace,
        EditorName::Lora => Rival::Lora,
        EditorName::Retrieval => return choose_retrieval(args).map(Chosen::Retrieval),
    };
    refuse(&[("--oracle-router", args.oracle_router)], rival.name())?;
    choose_rival(rival, args).map(Chosen::Rival)
}

fn choose_retrieval(args: &EvalArgs) -> Result<RetrievalConfig> {
    let given = &args.config;
    let of_training = [
        ("--layer", given.layer.is_some()),
        ("--seed", given.seed.is_some()),
        ("--oracle-router", args.oracle_router),
    ];
    refuse(&of_training, "retrieval")?;
    refuse_those_of_wise(given, "retrieval")?;
    let path = given.config.clone().unwrap_or_default();
    let read = RetrievalConfig::deserialize(config::file(given)?);
    let config = read.map_err(|e| Error::config(&path, &e))?;
    Ok(RetrievalConfig {
        prompt_format: given.prompt_format.or(config.prompt_format),
        ..config
    })
}

fn refuse_those_of_wise(given: &ConfigArgs, editor: &str) -> Result<()> {
    let of_wise_only = [
        ("--preset", given.preset.is_some()),
        ("--compat", given.compat.is_some()),
        ("--negatives", given.negatives.is_some()),
        ("--relations", given.relations.is_some()),
    ];
    refuse(&of_wise_only, editor)
}

/// Refuses flags that an editor has no use for, where they are given.
fn refuse(flags: &[(&'static str, bool)], editor: &str) -> Result<()> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::NotOfEditor {
            flag,
            editor: editor.to_owned(),
        }),
        None => Ok(()),
    }
}

fn choose_rival(rival: Rival, args: &EvalArgs) -> Result<RivalConfig> {
    let given = &args.config;
    refuse_those_of_wise(given, rival.name())?;
    let table: Table = config::file(given)?;
    let path = given.config.clone().unwrap_or_default();
    let mut config = rival.read(table).map_err(|e| Error::config(&path, &e))?;
    let shared = config.shared();
    *shared.prompt_format = given.prompt_format.or(*shared.prompt_format);
    *shared.layer = given.layer.or(*shared.layer);
    *shared.seed = given.seed.unwrap_or(*shared.seed);
    Ok(config)
}

impl Chosen {
    /// The editor itself.
    pub fn open(self, model: Arc<Model>) -> Result<Box<dyn Editor>> {
        Ok(match self {
            Self::Wise {
                config,
                negatives,
                args,
            } => Box::new(wise(model, *config, negatives, &args)?),
            Self::Rival(config) => config.open(model)?,
            Self::Retrieval(config) => Box::new(Retrieval::new(model, config)?),
        })
    }
}

/// A WISE editor without edits, with the reader of relations that the arguments or the program have.
pub fn wise(
    model: Arc<Model>,
    config: WiseConfig,
    negatives: Vec<String>,
    args: &ConfigArgs,
) -> Result<Wise> {
    let relations = config::relations(args, &config, &model)?;
    let editor = Wise::new(model, config, negatives)?;
    Ok(match relations {
        Some(relations) => editor.with_relations(relations)?,
        None => editor,
    })
}
