//! Hyperparameters of the WISE editor.

use serde::{Deserialize, Serialize};
use wise_memory::{
    ActivationRouter, Distance, KeyRouter, Pooling, RelationReader, RoutedBy, Router, Threshold,
    TopOne, Voters,
};
use wise_merge::{MergeMethod, Overlap};
use wise_model::{Model, PromptFormat};

use crate::error::require;
use crate::{Error, Result};

/// Whose WISE to run: which hyperparameters are the defaults ([`WiseConfig::of`]), and these details, which
/// have no switch of their own:
///
/// | | `wise` | `paper` | `easyedit` |
/// | --- | --- | --- | --- |
/// | padding on the left in training | none | none | counted in distances |
/// | activation recorded | after the last step | after the last step | before the last step |
/// | edit loss divided by | target tokens | target tokens | target tokens + 1 |
/// | labels | each row's own target | each row's own target | columns past the longest prompt |
/// | sequences over 100 tokens | pooled like others | pooled like others | largest distance |
/// | a rejected open memory | is ignored | is ignored | vetoes smaller ones |
/// | router negatives | the next of the pool in each iteration | the same in each | the same in each, never in a chat template |
/// | a fact corrected again | trains the memory that holds it | trains the open memory | trains the open memory |
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
    pub(crate) fn is_easyedit(self) -> bool {
        self == Self::EasyEdit
    }
}

/// How the side memory descends; all stay inside the mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optimizer {
    /// Plain gradient descent, as in the paper.
    Sgd,
    /// Adam (Kingma and Ba, 2015), with fresh moments for every edit.
    Adam,
    /// Steps of one length along the gradient, with momentum ([`wise_tensor::EqualSteps`]).
    #[default]
    Normalized,
}

/// What decides which memory answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteBy {
    /// Whether a prompt speaks of an edit's subject: [`KeyRouter`].
    #[default]
    Keys,
    /// How far a memory moves a prompt, as in the paper: [`ActivationRouter`].
    Activation,
}

/// When the training of an edit ends before `n_iter` iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopRule {
    /// Once no label of the edit costs more than `stop_loss`, so that greedy decoding finds the target by a margin,
    /// and all its activations are over beta.
    #[default]
    Labels,
    /// Once edit and router loss together are at most `stop_loss`.
    Loss,
    /// Once that is so and the loss no longer moves, as in the paper; decided on the two losses before, as the
    /// reference implementation does.
    Standstill,
}

/// Context templates that the model writes.
pub(crate) const CONTEXT_TEMPLATES: usize = 10;

/// Hyperparameters, under their names in the paper or the reference implementation.
///
/// Every field has a default, so a configuration file names only what it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
// Each is a switch of its own in an ablation.
#[allow(clippy::struct_excessive_bools)]
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
    /// Shares of its running means of the gradient and of its square that Adam keeps in each step.
    pub adam_betas: [f64; 2],
    /// Share of the running mean of its directions that normalized descent keeps in each step.
    pub momentum: f64,
    /// How many times as long as the edit loss's gradient the router loss's may be; a longer one is shortened. None
    /// or infinite: any length, as in the paper. The router's is by far the longer once an edit is nearly learnt, and every
    /// prompt that violates a margin would throw the edit back.
    pub router_gradient: Option<f64>,
    /// Most iterations per edit.
    pub n_iter: usize,
    /// Fewest iterations per edit.
    pub min_iter: usize,
    /// What ends the training of an edit earlier.
    pub stop_rule: StopRule,
    /// What the rule compares with, in nats.
    pub stop_loss: f64,
    /// Router margins alpha, beta and gamma: an unrelated prompt's activation stays under alpha, an edit's
    /// over beta, and they differ by gamma (paper, equation 5).
    pub act_margin: [f64; 3],
    /// Share of the smallest edit activation that a query must exceed. The paper has 1.
    pub act_ratio: f64,
    /// Whether that activation counts for no more than beta + gamma. An edit alone in its memory ends far above,
    /// and its rephrasings do not follow. The two originals count all of it.
    pub cap_activation: bool,
    /// Share of the matrix that one shard may change, rho.
    pub mask_ratio: f64,
    /// Whether the subspaces of two shards may overlap, as those of the paper do by chance.
    pub mask_overlap: Overlap,
    /// No weight moves further than this from the main memory's.
    pub norm_constraint: Option<f64>,
    /// Weight decay of gradient descent.
    pub weight_decay: f64,
    /// Whether weights outside the subspace decay too, as in the reference implementation.
    pub decay_outside_mask: bool,
    /// Texts of the model's own that each edit is trained behind, 0 to 10, besides nothing.
    pub context_templates: usize,
    /// Whether the target ends with the end-of-sequence token, so that the model learns to stop. The two
    /// originals leave it out.
    pub target_eos: bool,
    /// What decides which memory answers. Everything about activations below, margins and negatives included, is
    /// for a router that goes by them.
    pub route_by: RouteBy,
    /// How well the subject of an edit must fit a prompt, as a cosine of keys.
    pub subject_fit: f64,
    /// How well what an edit asks for must fit, as a cosine, where a reader of relations was learnt; `None`: as that one
    /// says ([`RelationReader::fit`](crate::RelationReader::fit)).
    pub relation_fit: Option<f64>,
    /// How well the rest of an edit's prompt must fit, as a cosine of keys, where none was.
    pub words_fit: f64,
    /// Questions of all kinds about the edit's subject that are trained to give its target as well, so that it does not
    /// hang on the edit's own words. Only where keys decide: they keep such questions away unless they mean the same. An edit
    /// whose shard has others of its subject takes three times as many, but such that ask for what it does, as the map of
    /// what is asked reads them; none without one.
    pub subject_prompts: usize,
    /// How far apart two memories are at a token.
    pub distance: Distance,
    /// How the distances of a sequence's tokens are pooled.
    pub pooling: Pooling,
    /// Which tokens vote on the route.
    pub voters: Voters,
    /// Whether each sequence is routed by itself.
    pub routed_by: RoutedBy,
    /// Whose activation a query is compared with.
    pub threshold: Threshold,
    /// Which of several memories answers. The two originals take the largest activation.
    pub top_one: TopOne,
    /// Facts that one shard holds; the next one opens a new shard.
    pub save_freq: usize,
    /// Facts after which the shards since the last merge become one memory (WISE-Retrieve); a multiple of
    /// `save_freq`. None: shards are retrieved one by one.
    pub merge_freq: Option<usize>,
    /// Whether the router picks one of the memories (WISE-Retrieve), or all shards are merged into one (WISE-Merge).
    pub retrieve: bool,
    /// How shards are merged.
    pub merge_alg: MergeMethod,
    /// Share of a shard's changes that a merge keeps, where the method trims or drops.
    pub density: f64,
    /// Whether each shard also learns to leave the edits of earlier shards alone (paper, appendix B.3).
    pub replay: bool,
    /// Router negatives per iteration. Each iteration takes the next ones of the pool, in the two originals
    /// the same ones again.
    pub negatives_per_step: usize,
    /// Earlier edits of the same shard that take part in each iteration, in turn, so that they are not undone;
    /// together they weigh as much as the edit. The two originals have none.
    pub rehearsed_edits: usize,
    /// Near misses per edit: its prompt about other subjects, of which the router learns that they are to be left
    /// alone. Four times as many of the shard's earlier edits take part in each iteration, in turn.
    pub near_misses: usize,
    /// How often, once an edit has settled, all earlier edits of its shard are looked at and those that no longer
    /// hold are trained along with it until they do. The two originals never look.
    pub sweeps: usize,
    /// Whether each edit holds the routing activations of all earlier edits of its shard over beta, and measures
    /// them again. The two originals leave them to drift.
    pub hold_routes: bool,
    /// Seed of the masks and of the choice of rehearsed edits.
    pub seed: u64,
}

impl Default for WiseConfig {
    fn default() -> Self {
        Self {
            compat: Compatibility::Wise,
            prompt_format: None,
            layer: None,
            optimizer: Optimizer::Normalized,
            edit_lr: 0.025,
            lr_floor: 1.0,
            adam_betas: [0.5, 0.5],
            momentum: 0.5,
            router_gradient: Some(1.0),
            n_iter: 30,
            min_iter: 6,
            stop_rule: StopRule::Labels,
            stop_loss: 0.3,
            act_margin: [20.0, 30.0, 10.0],
            act_ratio: 0.88,
            cap_activation: true,
            mask_ratio: 0.2,
            mask_overlap: Overlap::Independent,
            norm_constraint: Some(1.0),
            weight_decay: 1e-5,
            decay_outside_mask: false,
            context_templates: 4,
            target_eos: true,
            route_by: RouteBy::Keys,
            subject_fit: 0.85,
            relation_fit: None,
            words_fit: 0.45,
            subject_prompts: 4,
            distance: Distance::Activated,
            pooling: Pooling::Mean,
            voters: Voters::Prompt,
            routed_by: RoutedBy::Sequence,
            threshold: Threshold::Memory,
            top_one: TopOne::Nearest,
            save_freq: 50,
            merge_freq: None,
            retrieve: true,
            merge_alg: MergeMethod::Ties,
            density: 0.53,
            replay: false,
            negatives_per_step: 64,
            rehearsed_edits: 12,
            near_misses: 8,
            sweeps: 2,
            hold_routes: true,
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
                distance: Distance::Raw,
                decay_outside_mask: false,
                retrieve: false,
                ..Self::of(Compatibility::EasyEdit)
            },
            Compatibility::EasyEdit => Self {
                optimizer: Optimizer::Sgd,
                edit_lr: 1.0,
                router_gradient: None,
                n_iter: 70,
                min_iter: 0,
                stop_rule: StopRule::Standstill,
                stop_loss: 0.02,
                act_margin: [5.0, 20.0, 10.0],
                act_ratio: 0.88,
                cap_activation: false,
                route_by: RouteBy::Activation,
                subject_prompts: 0,
                top_one: TopOne::Activation,
                negatives_per_step: 1,
                rehearsed_edits: 0,
                near_misses: 0,
                sweeps: 0,
                hold_routes: false,
                prompt_format: Some(PromptFormat::Raw),
                decay_outside_mask: true,
                context_templates: CONTEXT_TEMPLATES,
                target_eos: false,
                voters: Voters::All,
                save_freq: 500,
                merge_freq: Some(1000),
                ..tuned
            },
        }
    }

    /// Whether an edit takes no notice of the earlier edits of its shard.
    pub(crate) fn learns_alone(&self) -> bool {
        self.rehearsed_edits == 0 && !self.holds_routes()
    }

    /// Whether the routes of earlier edits have to be held.
    pub(crate) fn holds_routes(&self) -> bool {
        self.hold_routes && self.route_by == RouteBy::Activation
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

    /// Shards that are merged with one another where memories are retrieved: `merge_freq / save_freq`, else 1.
    pub fn shards_merged(&self) -> usize {
        self.merge_freq
            .map_or(1, |facts| facts / self.save_freq.max(1))
            .max(1)
    }

    /// Whether a fact that is corrected again returns to its shard and places that are free again are given; the two
    /// originals fill one shard after another.
    pub fn refills_shards(&self) -> bool {
        self.compat == Compatibility::Wise
    }

    pub(crate) fn least_relation_fit(&self) -> f64 {
        self.relation_fit.unwrap_or(RelationReader::FIT)
    }

    /// The router these hyperparameters describe, where relations are read or not.
    pub fn router(&self, reads_relations: bool) -> Router {
        let relation = if reads_relations {
            self.least_relation_fit()
        } else {
            self.words_fit
        };
        match self.route_by {
            RouteBy::Keys => Router::Keys(KeyRouter {
                subject: self.subject_fit as f32,
                relation: relation as f32,
            }),
            RouteBy::Activation => Router::Activation(self.activation_router()),
        }
    }

    fn activation_router(&self) -> ActivationRouter {
        ActivationRouter {
            distance: self.distance,
            pooling: self.pooling,
            voters: self.voters,
            routed_by: self.routed_by,
            threshold: self.threshold,
            top_one: self.top_one,
            ceiling: if self.cap_activation {
                (self.act_margin[1] + self.act_margin[2]) as f32
            } else {
                f32::INFINITY
            },
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
        for limit in [&mut self.router_gradient, &mut self.norm_constraint] {
            *limit = limit.filter(|&limit| limit != f64::INFINITY);
        }
        self.check()?;
        let needs_eos = self.target_eos || self.compat.is_easyedit();
        if needs_eos && model.eos().is_empty() {
            return Err(Error::NoEos {
                model: model.name().to_owned(),
            });
        }
        Ok(self)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`Error::Hyperparameter`].
    pub fn check(&self) -> Result<()> {
        let positive = [
            ("edit_lr", self.edit_lr),
            ("act_ratio", self.act_ratio),
            ("mask_ratio", self.mask_ratio),
            ("norm_constraint", self.norm_constraint.unwrap_or(1.0)),
            ("router_gradient", self.router_gradient.unwrap_or(1.0)),
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
        for (name, fit) in [
            ("subject_fit", self.subject_fit),
            ("relation_fit", self.least_relation_fit()),
            ("words_fit", self.words_fit),
        ] {
            require(name, fit, (-1.0..=1.0).contains(&fit), "-1 to 1")?;
        }
        let [first, second] = self.adam_betas;
        let kept = [
            ("adam_betas", first),
            ("adam_betas", second),
            ("momentum", self.momentum),
        ];
        for (name, share) in kept {
            require(name, share, (0.0..1.0).contains(&share), "0 to 1")?;
        }
        let holds = !self.replay || self.route_by == RouteBy::Activation;
        require("replay", true, holds, "false, where route_by is keys")?;
        let counts = [
            ("n_iter", self.n_iter),
            ("negatives_per_step", self.negatives_per_step),
            ("save_freq", self.save_freq),
        ];
        for (name, value) in counts {
            require(name, value, value > 0, "at least 1")?;
        }
        if let Some(merge) = self.merge_freq {
            let holds = merge > 0 && merge.is_multiple_of(self.save_freq);
            require("merge_freq", merge, holds, "a multiple of save_freq")?;
        }
        let (templates, density) = (self.context_templates, self.density);
        let holds = templates <= CONTEXT_TEMPLATES;
        require("context_templates", templates, holds, "0 to 10")?;
        let holds = density > 0.0 && density <= 1.0;
        require("density", density, holds, "more than 0 and at most 1")?;
        if self.mask_overlap == Overlap::Disjoint && self.retrieve && self.merge_freq.is_none() {
            let expected = "independent, where shards are not merged";
            require("mask_overlap", "disjoint", false, expected)?;
        }
        Ok(())
    }
}
