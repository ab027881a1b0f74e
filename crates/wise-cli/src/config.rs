//! Hyperparameters from the defaults, a preset, a TOML file and flags, the later ones winning.

use toml::Table;
use wise_edit::{Compatibility, RelationReader, RouteBy, WiseConfig, neutral_prompts};
use wise_model::Model;

use crate::args::ConfigArgs;
use crate::error::{Error, Result};
use crate::preset;

/// The hyperparameters that the arguments describe for a model of this name.
pub fn resolve(args: &ConfigArgs, model: &str) -> Result<WiseConfig> {
    let mut file = file(args)?;
    let path = args.config.clone().unwrap_or_default();
    let bad = |error: toml::de::Error| Error::config(&path, &error);
    let named = file.remove("compat").map(toml::Value::try_into).transpose();
    let asked: Option<Compatibility> = args.compat.or(named.map_err(bad)?);
    let preset = match (&args.preset, asked) {
        (Some(name), _) if name == "none" => Table::new(),
        (Some(name), _) => parsed(name, preset::text(name)?)?,
        // A model's own preset is for the default editor.
        (None, Some(Compatibility::Paper | Compatibility::EasyEdit)) => Table::new(),
        (None, _) => match preset::of_model(model) {
            Some(name) => parsed(name, preset::text(name)?)?,
            None => Table::new(),
        },
    };
    let mut given = preset;
    given.extend(file);
    let of_preset = given
        .remove("compat")
        .map(toml::Value::try_into)
        .transpose();
    let compat = asked.or(of_preset.map_err(bad)?).unwrap_or_default();
    let mut table =
        Table::try_from(WiseConfig::of(compat)).map_err(|e| Error::config(&path, &e))?;
    table.extend(given);
    let mut config: WiseConfig = table.try_into().map_err(bad)?;
    config.layer = args.layer.or(config.layer);
    config.prompt_format = args.prompt_format.or(config.prompt_format);
    config.seed = args.seed.unwrap_or(config.seed);
    Ok(config)
}

/// What the configuration file says; nothing without one.
pub fn file(args: &ConfigArgs) -> Result<Table> {
    let Some(path) = &args.config else {
        return Ok(Table::new());
    };
    let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
    text.parse().map_err(|e| Error::config(path, &e))
}

fn parsed(name: &str, text: &str) -> Result<Table> {
    text.parse().map_err(|e| Error::config(name.as_ref(), &e))
}

/// The router negatives that the arguments describe.
pub fn negatives(args: &ConfigArgs, hyperparameters: &WiseConfig) -> Result<Vec<String>> {
    let Some(path) = &args.negatives else {
        return Ok(neutral_prompts());
    };
    if hyperparameters.route_by == RouteBy::Keys {
        crate::output::note(
            "note: --negatives change nothing: a router that goes by keys needs none (route_by)",
        );
    }
    Ok(wise_eval::read_negatives(path)?)
}

/// What tells the model's prompts by what they ask for, where the arguments or the program have it.
pub fn relations(
    args: &ConfigArgs,
    hyperparameters: &WiseConfig,
    model: &Model,
) -> Result<Option<RelationReader>> {
    if hyperparameters.route_by != RouteBy::Keys {
        if args.relations.is_some() {
            crate::output::note(
                "note: --relations change nothing: a router that goes by activations reads none (route_by)",
            );
        }
        return Ok(None);
    }
    let (path, bytes) = match &args.relations {
        Some(path) if path.as_os_str() == "none" => return Ok(None),
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|e| Error::read(path, e))?;
            (path.clone(), bytes)
        }
        None => match preset::relations(model.name()) {
            Some(bytes) => (model.name().into(), bytes.to_vec()),
            None => return Ok(None),
        },
    };
    let relations = wise_patch::relations_from_bytes(&path, &bytes, model)?;
    Ok(Some(relations))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Given {
        #[command(flatten)]
        config: ConfigArgs,
    }

    fn resolved(args: &[&str]) -> WiseConfig {
        let given = Given::parse_from([&["wise"], args].concat());
        resolve(&given.config, "smollm2").unwrap()
    }

    #[test]
    fn a_models_preset_is_for_the_default_editor_wherever_another_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("paper.toml");
        std::fs::write(&path, "compat = \"paper\"\n").unwrap();
        let by_file = resolved(&["--config", &path.to_string_lossy()]);
        assert_eq!(by_file, resolved(&["--compat", "paper"]));
        assert_ne!(by_file, resolved(&[]));
    }
}
