//! Hyperparameters of the WISE editor.

use serde::{Deserialize, Serialize};
use wise_memory::{Distance, ThresholdRouter};
use wise_model::{Model, PromptFormat};

use crate::{Error, Result};

/// Whose WISE to run. The three differ where the original paper, its implementation and what works do.
///
/// | | `wise` | `paper` | `easyedit` |
/// | --- | --- | --- | --- |
/// | distance | activated | raw (equation 3) | activated |
/// | tokens that vote on the route | the prompt's | all | all, and left padding while training |
/// | threshold | `act_ratio` x smallest activation | smallest activation | `act_ratio` x smallest activation |
/// | activation recorded | after the last step | after the last step | before the last step |
/// | target ends with EOS | yes | no | no |
/// | edit loss divided by | target tokens | target tokens | target tokens + 1 |
/// | labels | each row's own target | each row's own target | columns past the longest prompt |
/// | weight decay | inside the mask | inside the mask | everywhere |
/// | sequences over 100 tokens | mean distance | mean distance | largest distance |
/// | a rejected open memory | is ignored | is ignored | vetoes smaller ones |
///
/// | router negatives | the next of the pool in each iteration | the same in each | the same in each, never in a chat template |
/// | training ends early | once the loss is under `stop_loss` | and stands still | and stands still |
///
/// Their hyperparameters differ too; [`WiseConfig::of`] has each side's, the optimiser, the prompt format and
/// the rehearsal of earlier edits among them.
///
/// All three latch the route while an answer is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compatibility {
    /// What works.
    #[default]
    Wise,
    /// Wang et al., NeurIPS 2024, as written.
    Paper,
    /// `EasyEdit` at commit 14cea82, as run.
    EasyEdit,
}

impl std::str::FromStr for Compatibility {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "wise" => Ok(Self::Wise),
            "paper" => Ok(Self::Paper),
            "easyedit" => Ok(Self::EasyEdit),
            _ => Err(format!(
                "unknown compatibility {text:?}, expected wise, paper or easyedit"
            )),
        }
    }
}

impl Compatibility {
    /// Whether only the prompt's tokens vote on the route, or the whole sequence.
    pub fn routes_by_prompt(self) -> bool {
        self == Self::Wise
    }

    pub(crate) fn learns_to_stop(self) -> bool {
        self == Self::Wise
    }

    pub(crate) fn is_easyedit(self) -> bool {
        self == Self::EasyEdit
    }

    pub(crate) fn distance(self) -> Distance {
        match self {
            Self::Paper => Distance::Raw,
            Self::Wise | Self::EasyEdit => Distance::Activated,
        }
    }
}

/// How the side memory descends; both stay inside the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Plain gradient descent, as in the paper.
    Sgd,
    /// Adam (Kingma and Ba, 2015), with fresh moments for every edit.
    #[default]
    Adam,
}

/// Hyperparameters, under their names in the paper or the reference implementation.
///
/// Every field has a default, so a configuration file names only what it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WiseConfig {
    /// Whose WISE to run.
    pub compat: Compatibility,
    /// How questions are put to the model; by default chat where it has a template, and raw for the two
    /// originals.
    pub prompt_format: Option<PromptFormat>,
    /// Layer whose FFN value matrix is edited; by default about 0.77 of the way up.
    pub layer: Option<usize>,
    /// How the side memory descends.
    pub optimizer: Optimizer,
    /// Rate of gradient descent.
    pub edit_lr: f64,
    /// Share of `edit_lr` that is left at the last iteration; the rate falls linearly. 1 keeps it constant,
    /// as the paper does.
    pub lr_floor: f64,
    /// Most iterations per edit.
    pub n_iter: usize,
    /// Training ends once the loss is this small; the two originals also wait for it to stand still.
    pub stop_loss: f64,
    /// Router margins alpha, beta and gamma: an unrelated prompt's activation stays under alpha, an edit's
    /// over beta, and they differ by gamma (paper, equation 5).
    pub act_margin: [f64; 3],
    /// Share of the smallest edit activation that a query must exceed. The paper has 1.
    pub act_ratio: f64,
    /// Share of the matrix that one shard may change, rho.
    pub mask_ratio: f64,
    /// No weight moves further than this from the main memory's.
    pub norm_constraint: Option<f64>,
    /// Weight decay of gradient descent.
    pub weight_decay: f64,
    /// Router negatives per iteration. Each iteration takes the next ones of the pool, in the two originals
    /// the same ones again.
    pub negatives_per_step: usize,
    /// Earlier edits of the same shard that each edit trains along with, so that it does not undo them. The
    /// two originals have none.
    pub rehearsed_edits: usize,
    /// Seed of the masks and of the choice of rehearsed edits.
    pub seed: u64,
}

impl Default for WiseConfig {
    fn default() -> Self {
        Self {
            compat: Compatibility::Wise,
            prompt_format: None,
            layer: None,
            optimizer: Optimizer::Adam,
            edit_lr: 0.03,
            lr_floor: 0.2,
            n_iter: 40,
            stop_loss: 0.05,
            act_margin: [20.0, 30.0, 10.0],
            act_ratio: 0.62,
            mask_ratio: 0.2,
            norm_constraint: Some(1.0),
            weight_decay: 1e-5,
            negatives_per_step: 8,
            rehearsed_edits: 8,
            seed: 0,
        }
    }
}

impl WiseConfig {
    /// The hyperparameters that belong to `compat`: tuned ones for ours, and for the two originals those of
    /// the paper's table 10, which the reference implementation ships for Llama-2-7B.
    pub fn of(compat: Compatibility) -> Self {
        let tuned = Self {
            compat,
            ..Self::default()
        };
        match compat {
            Compatibility::Wise => tuned,
            Compatibility::Paper => Self {
                compat,
                act_ratio: 1.0,
                ..Self::of(Compatibility::EasyEdit)
            },
            Compatibility::EasyEdit => Self {
                optimizer: Optimizer::Sgd,
                edit_lr: 1.0,
                lr_floor: 1.0,
                n_iter: 70,
                stop_loss: 0.02,
                act_margin: [5.0, 20.0, 10.0],
                act_ratio: 0.88,
                negatives_per_step: 1,
                rehearsed_edits: 0,
                prompt_format: Some(PromptFormat::Raw),
                ..tuned
            },
        }
    }

    /// The layer to edit in `model`.
    pub fn layer_for(&self, model: &Model) -> usize {
        let share = |layers: usize| layers * 23 / 30;
        self.layer.unwrap_or_else(|| share(model.config().layers))
    }

    /// How questions are put to `model`.
    pub fn format_for(&self, model: &Model) -> PromptFormat {
        self.prompt_format.unwrap_or_else(|| model.default_format())
    }

    /// The router these hyperparameters describe.
    pub fn router(&self) -> ThresholdRouter {
        ThresholdRouter {
            distance: self.compat.distance(),
            act_ratio: self.act_ratio,
            reference_quirks: self.compat.is_easyedit(),
        }
    }

    /// Fills in what depends on the model and checks every range.
    ///
    /// # Errors
    /// [`Error::Hyperparameter`], or a layer that the model does not have, or a chat format that it lacks.
    pub fn resolve(mut self, model: &Model) -> Result<Self> {
        self.layer = Some(self.layer_for(model));
        self.prompt_format = Some(self.format_for(model));
        let positive = [
            ("edit_lr", self.edit_lr),
            ("act_ratio", self.act_ratio),
            ("mask_ratio", self.mask_ratio),
            ("norm_constraint", self.norm_constraint.unwrap_or(1.0)),
        ];
        for (name, value) in positive {
            require(name, value, value > 0.0 && value.is_finite(), "more than 0")?;
        }
        let decay = self.weight_decay;
        require("weight_decay", decay, (0.0..1.0).contains(&decay), "0 to 1")?;
        require(
            "mask_ratio",
            self.mask_ratio,
            self.mask_ratio <= 1.0,
            "at most 1",
        )?;
        for value in self.act_margin {
            let holds = value >= 0.0 && value.is_finite();
            require("act_margin", value, holds, "0 or more")?;
        }
        let (floor, stop) = (self.lr_floor, self.stop_loss);
        require("lr_floor", floor, (0.0..=1.0).contains(&floor), "0 to 1")?;
        let holds = stop >= 0.0 && stop.is_finite();
        require("stop_loss", stop, holds, "0 or more")?;
        let needs_eos = self.compat != Compatibility::Paper;
        if needs_eos && model.eos().is_empty() {
            return Err(Error::NoEos {
                model: model.name().to_owned(),
            });
        }
        let counts = [
            ("n_iter", self.n_iter),
            ("negatives_per_step", self.negatives_per_step),
        ];
        for (name, value) in counts {
            require(name, value, value > 0, "at least 1")?;
        }
        Ok(self)
    }
}

fn require(
    name: &'static str,
    got: impl ToString,
    holds: bool,
    expected: &'static str,
) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::Hyperparameter {
        name,
        got: got.to_string(),
        expected,
    })
}
