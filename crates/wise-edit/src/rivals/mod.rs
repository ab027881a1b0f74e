//! Other editors under the same trait, so that a comparison has more than one entry.
//!
//! Each is documented from its paper and keeps the values that `EasyEdit` (commit 14cea82) ships for it; where it does
//! not, its fields say so. One departure is for all: they learn what [`Wise`](crate::Wise) learns. An edit is one
//! sequence, the prompt as the model will be asked it, the target after it, and the end-of-sequence token after that. None
//! sees a rephrase.

mod codebook;
mod fine_tuning;
mod ft_l;
mod ft_m;
mod grace;
mod lesson;
mod lora;
mod retrieval;
mod sequential;
mod settings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use wise_model::Model;

pub use self::ft_l::FtLConfig;
pub use self::ft_m::FtMConfig;
pub use self::grace::{GraceConfig, ValueInit};
pub use self::lora::LoraConfig;
pub use self::retrieval::{Retrieval, RetrievalConfig};
pub use self::settings::Shared;

use self::fine_tuning::FineTuning;
use self::grace::Grace;
use self::lora::Lora;
use self::sequential::Sequential;
pub(crate) use self::sequential::Unrouted;
use self::settings::Settings;
use crate::{Editor, Result};

/// An editor to compare WISE with.
///
/// ```no_run
/// use std::sync::Arc;
/// use wise_edit::{Edit, EditProgress, Editor, Rival};
/// use wise_model::{DeviceName, Model};
///
/// let device = DeviceName::Cpu.open()?;
/// let model = Arc::new(Model::open("smollm2", &device, &mut |_| {})?);
/// let mut config = "grace".parse::<Rival>()?.config();
/// *config.shared().seed = 1;
/// let mut editor = config.open(model)?;
/// let edit = Edit::new("What university did Watts Humphrey attend?", "University of Michigan");
/// editor.apply(&[edit], &mut |_: EditProgress| {})?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rival {
    /// Fine-tuning of one FFN value matrix on the target's tokens; see [`FtMConfig`].
    FtM,
    /// Fine-tuning of the same matrix within a ball, on the last prompt token alone; see [`FtLConfig`].
    FtL,
    /// A codebook of outputs beside a frozen model; see [`GraceConfig`].
    Grace,
    /// Low-rank additions to the attention; see [`LoraConfig`].
    Lora,
}

impl Rival {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::FtM, Self::FtL, Self::Grace, Self::Lora];

    /// Its name in configuration files, on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::FtM => "ft-m",
            Self::FtL => "ft-l",
            Self::Grace => "grace",
            Self::Lora => "lora",
        }
    }

    /// Its default hyperparameters.
    pub fn config(self) -> RivalConfig {
        match self {
            Self::FtM => RivalConfig::FtM(FtMConfig::default()),
            Self::FtL => RivalConfig::FtL(FtLConfig::default()),
            Self::Grace => RivalConfig::Grace(GraceConfig::default()),
            Self::Lora => RivalConfig::Lora(LoraConfig::default()),
        }
    }

    /// Reads its hyperparameters, for example from a table of a TOML file. What is not given has its default.
    ///
    /// # Errors
    /// If a name is not one of this editor's hyperparameters, or a value has the wrong type.
    pub fn read<'de, D: Deserializer<'de>>(self, settings: D) -> Result<RivalConfig, D::Error> {
        Ok(match self {
            Self::FtM => RivalConfig::FtM(FtMConfig::deserialize(settings)?),
            Self::FtL => RivalConfig::FtL(FtLConfig::deserialize(settings)?),
            Self::Grace => RivalConfig::Grace(GraceConfig::deserialize(settings)?),
            Self::Lora => RivalConfig::Lora(LoraConfig::deserialize(settings)?),
        })
    }
}

impl FromStr for Rival {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|rival| rival.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown editor {text:?}, expected one of {names}")
        })
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The hyperparameters of one of these editors.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RivalConfig {
    /// Of FT-M.
    FtM(FtMConfig),
    /// Of FT-L.
    FtL(FtLConfig),
    /// Of GRACE.
    Grace(GraceConfig),
    /// Of `LoRA`.
    Lora(LoraConfig),
}

impl RivalConfig {
    /// Whose they are.
    pub fn rival(&self) -> Rival {
        match self {
            Self::FtM(_) => Rival::FtM,
            Self::FtL(_) => Rival::FtL,
            Self::Grace(_) => Rival::Grace,
            Self::Lora(_) => Rival::Lora,
        }
    }

    /// Those that every one of these editors has, to be set from elsewhere than a file.
    pub fn shared(&mut self) -> Shared<'_> {
        match self {
            Self::FtM(config) => config.shared(),
            Self::FtL(config) => config.shared(),
            Self::Grace(config) => config.shared(),
            Self::Lora(config) => config.shared(),
        }
    }

    /// An editor without edits.
    ///
    /// # Errors
    /// On hyperparameters out of range, a layer that the model does not have, or a chat format that it lacks.
    pub fn open(self, model: Arc<Model>) -> Result<Box<dyn Editor>> {
        match self {
            Self::FtM(config) => Sequential::<FineTuning<FtMConfig>>::open(model, config),
            Self::FtL(config) => Sequential::<FineTuning<FtLConfig>>::open(model, config),
            Self::Grace(config) => Sequential::<Grace>::open(model, config),
            Self::Lora(config) => Sequential::<Lora>::open(model, config),
        }
    }
}
