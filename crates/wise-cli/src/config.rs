//! Hyperparameters from the defaults, a TOML file and flags, the later ones winning.

use toml::Table;
use wise_edit::{Compatibility, WiseConfig, neutral_prompts};

use crate::args::ConfigArgs;
use crate::error::{Error, Result};

/// The hyperparameters that the arguments describe.
pub fn resolve(args: &ConfigArgs) -> Result<WiseConfig> {
    let file = match &args.config {
        None => Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
            text.parse().map_err(|e| Error::config(path, &e))?
        }
    };
    let path = args.config.clone().unwrap_or_default();
    let named = match file.get("compat") {
        Some(value) => {
            let compat: Compatibility = value
                .clone()
                .try_into()
                .map_err(|e| Error::config(&path, &e))?;
            Some(compat)
        }
        None => None,
    };
    let compat = args.compat.or(named).unwrap_or_default();
    let mut table =
        Table::try_from(WiseConfig::of(compat)).map_err(|e| Error::config(&path, &e))?;
    table.extend(file.into_iter().filter(|(key, _)| key != "compat"));
    let mut config: WiseConfig = table.try_into().map_err(|e| Error::config(&path, &e))?;
    config.layer = args.layer.or(config.layer);
    config.prompt_format = args.prompt_format.or(config.prompt_format);
    config.seed = args.seed.unwrap_or(config.seed);
    Ok(config)
}

/// The router negatives that the arguments describe.
pub fn negatives(args: &ConfigArgs) -> Result<Vec<String>> {
    match &args.negatives {
        Some(path) => Ok(wise_eval::read_negatives(path)?),
        None => Ok(neutral_prompts()),
    }
}
