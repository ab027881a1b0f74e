//! How the decoder's tensors lie in a folder's: under which name, and in which form.

use std::ops::Range;

use super::super::rotary::undo_interleaving;
use crate::{Config, Family};

/// A tensor as the decoder wants it, in a tensor of a folder.
pub(super) struct Held {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) form: Form,
}

pub(super) enum Form {
    Plain,
    /// Differences from 1.
    FromOne,
    /// Some columns of a matrix `[in, width]`, transposed.
    Columns {
        width: usize,
        chosen: Range<usize>,
    },
    /// Rows of a rotary projection, interleaved.
    Interleaved {
        heads: usize,
        rotary: usize,
    },
}

impl Form {
    /// The values that the decoder wants, of the folder's.
    pub(super) fn undo(&self, mut values: Vec<f32>, shape: &[usize]) -> Vec<f32> {
        match self {
            Self::Plain => values,
            Self::FromOne => {
                for value in &mut values {
                    *value += 1.0;
                }
                values
            }
            Self::Columns { width, chosen } => chosen
                .clone()
                .flat_map(|column| values[column..].iter().step_by(*width).copied())
                .collect(),
            Self::Interleaved { heads, rotary } => {
                undo_interleaving(&values, *heads, shape[0], *rotary)
            }
        }
    }
}

/// Whether a tensor holds the weights of a norm as differences from 1.
pub(super) fn is_from_one(name: &str, family: Family) -> bool {
    family == Family::Gemma3 && name.ends_with("norm.weight")
}

/// What a folder's tensor holds; of one that the decoder does not know, the tensor itself, so that the load report shows
/// it as unused.
pub(super) fn held(config: &Config, name: &str, shape: &[usize]) -> Vec<Held> {
    let gpt = match config.family {
        Family::Gpt2 => gpt2(name, shape),
        Family::GptJ => gpt_j(config, name, shape),
        _ => None,
    };
    gpt.unwrap_or_else(|| {
        let form = if is_from_one(name, config.family) {
            Form::FromOne
        } else {
            Form::Plain
        };
        vec![Held {
            name: name.to_owned(),
            shape: shape.to_vec(),
            form,
        }]
    })
}

/// The stems that Hugging Face gives to a Llama's tensors.
const GPT2: &[(&str, &str)] = &[
    ("ln_1", "input_layernorm"),
    ("ln_2", "post_attention_layernorm"),
    ("attn.c_proj", "self_attn.o_proj"),
    ("mlp.c_fc", "mlp.up_proj"),
    ("mlp.c_proj", "mlp.down_proj"),
];

const GPT_J: &[(&str, &str)] = &[
    ("ln_1", "input_layernorm"),
    ("attn.q_proj", "self_attn.q_proj"),
    ("attn.k_proj", "self_attn.k_proj"),
    ("attn.v_proj", "self_attn.v_proj"),
    ("attn.out_proj", "self_attn.o_proj"),
    ("mlp.fc_in", "mlp.up_proj"),
    ("mlp.fc_out", "mlp.down_proj"),
];

/// Linear layers lie as `[in, out]`, and q, k and v in one.
fn gpt2(name: &str, shape: &[usize]) -> Option<Vec<Held>> {
    let place = Place::of(name)?;
    if place.is_buffer() {
        return Some(Vec::new());
    }
    let columns = |name: String, chosen: Range<usize>, width: usize| {
        let (shape, form) = match shape {
            [inputs, _] => (vec![chosen.len(), *inputs], Form::Columns { width, chosen }),
            [_] => (vec![chosen.len()], Form::Columns { width, chosen }),
            // The load report refuses it.
            _ => (shape.to_vec(), Form::Plain),
        };
        Held { name, shape, form }
    };
    let width = *shape.last()?;
    if place.part == "attn.c_attn" {
        let third = width / 3;
        let parts = ["q_proj", "k_proj", "v_proj"].into_iter().enumerate();
        let held = |(index, part): (usize, &str)| {
            let name = place.named(&format!("self_attn.{part}"));
            columns(name, index * third..(index + 1) * third, width)
        };
        return Some(parts.map(held).collect());
    }
    let name = place.rename(GPT2)?;
    Some(vec![if shape.len() == 2 && place.layer.is_some() {
        columns(name, 0..width, width)
    } else {
        Held {
            name,
            shape: shape.to_vec(),
            form: Form::Plain,
        }
    }])
}

/// Queries and keys are rotated in neighbouring pairs.
fn gpt_j(config: &Config, name: &str, shape: &[usize]) -> Option<Vec<Held>> {
    let place = Place::of(name)?;
    if place.is_buffer() {
        return Some(Vec::new());
    }
    let (heads, rotary) = (config.heads, config.rotary_dim);
    let rows = heads * config.head_dim;
    let rotated =
        ["attn.q_proj", "attn.k_proj"].contains(&place.part) && shape.first() == Some(&rows);
    Some(vec![Held {
        name: place.rename(GPT_J)?,
        shape: shape.to_vec(),
        form: if rotated {
            Form::Interleaved { heads, rotary }
        } else {
            Form::Plain
        },
    }])
}

/// A GPT's tensor: `transformer.h.3.attn.c_attn.weight`, in older folders without its first word.
struct Place<'a> {
    layer: Option<&'a str>,
    part: &'a str,
    /// `weight` or `bias`.
    kind: &'a str,
}

impl<'a> Place<'a> {
    fn of(name: &'a str) -> Option<Self> {
        let name = name.strip_prefix("transformer.").unwrap_or(name);
        let (stem, kind) = name.rsplit_once('.')?;
        let in_layer = stem
            .strip_prefix("h.")
            .and_then(|rest| rest.split_once('.'));
        let (layer, part) = match in_layer {
            Some((layer, part)) => (Some(layer), part),
            None => (None, stem),
        };
        Some(Self { layer, part, kind })
    }

    /// Causal masks, which older folders have as tensors.
    fn is_buffer(&self) -> bool {
        self.part == "attn" && ["bias", "masked_bias"].contains(&self.kind)
    }

    fn named(&self, part: &str) -> String {
        match self.layer {
            Some(layer) => format!("model.layers.{layer}.{part}.{}", self.kind),
            None => format!("{part}.{}", self.kind),
        }
    }

    fn rename(&self, parts: &[(&str, &str)]) -> Option<String> {
        const OUTSIDE: &[(&str, &str)] = &[
            ("wte", "model.embed_tokens"),
            ("wpe", "model.embed_positions"),
            ("ln_f", "model.norm"),
            ("lm_head", "lm_head"),
        ];
        let parts = if self.layer.is_some() { parts } else { OUTSIDE };
        let (_, part) = parts.iter().find(|(theirs, _)| *theirs == self.part)?;
        Some(self.named(part))
    }
}
