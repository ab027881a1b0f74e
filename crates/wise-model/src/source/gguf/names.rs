//! llama.cpp's names and row order, turned into Hugging Face's and back.

use crate::Family;
use crate::config::Norms;

type Names = [(&'static str, &'static str)];

/// What llama.cpp's converter calls the parts of a layer, and what Hugging Face calls them.
const PARTS: &Names = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The same of the norms around the network.
fn network_norms(norms: Norms) -> &'static Names {
    match norms {
        Norms::Before => &[("ffn_norm", "post_attention_layernorm")],
        Norms::BeforeAndBehind => &[
            ("post_attention_norm", "post_attention_layernorm"),
            ("ffn_norm", "pre_feedforward_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
        ],
        Norms::Shared => &[],
    }
}

/// The Hugging Face name of a tensor; a name llama.cpp does not give to this family stays as it is, so
/// that the load report shows it as unused.
pub(super) fn hugging_face(name: &str, family: Family) -> String {
    match name {
        "token_embd.weight" => "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => "model.norm.weight".to_owned(),
        "output.weight" => "lm_head.weight".to_owned(),
        _ => layer_name(name, family).unwrap_or_else(|| name.to_owned()),
    }
}

/// llama.cpp's name of a Hugging Face tensor; a name of another kind stays as it is.
pub(super) fn llama_cpp(name: &str, family: Family) -> String {
    match name {
        "model.embed_tokens.weight" => "token_embd.weight".to_owned(),
        "model.norm.weight" => "output_norm.weight".to_owned(),
        "lm_head.weight" => "output.weight".to_owned(),
        _ => {
            let named = || {
                let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
                let (part, kind) = rest.rsplit_once('.')?;
                let mut parts = PARTS.iter().chain(network_norms(family.norms()));
                let (part, _) = parts.find(|(_, hugging_face)| *hugging_face == part)?;
                Some(format!("blk.{layer}.{part}.{kind}"))
            };
            named().unwrap_or_else(|| name.to_owned())
        }
    }
}

/// Whether llama.cpp turns neighbouring rows of a rotary projection, so that its converter reorders them: so for the
/// architecture `llama`, which Mistral's files bear too. For the others it turns halves.
pub(super) fn turns_neighbours(family: Family) -> bool {
    matches!(family, Family::Llama | Family::Mistral)
}

fn layer_name(name: &str, family: Family) -> Option<String> {
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let (part, kind) = rest.split_once('.')?;
    if kind != "weight" && kind != "bias" {
        return None;
    }
    let mut parts = PARTS.iter().chain(network_norms(family.norms()));
    let (_, part) = parts.find(|(llama_cpp, _)| *llama_cpp == part)?;
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}

/// Whether the tensor of this Hugging Face name is a query projection's, or a key projection's.
pub(super) fn rotary_heads(name: &str, heads: usize, kv_heads: usize) -> Option<usize> {
    if name.contains(".self_attn.q_proj.") {
        Some(heads)
    } else if name.contains(".self_attn.k_proj.") {
        Some(kv_heads)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_kind() {
        let pairs = [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output_norm.weight", "model.norm.weight"),
            ("output.weight", "lm_head.weight"),
            (
                "blk.0.attn_norm.weight",
                "model.layers.0.input_layernorm.weight",
            ),
            (
                "blk.0.attn_k_norm.weight",
                "model.layers.0.self_attn.k_norm.weight",
            ),
            (
                "blk.12.attn_q.bias",
                "model.layers.12.self_attn.q_proj.bias",
            ),
            (
                "blk.3.attn_output.weight",
                "model.layers.3.self_attn.o_proj.weight",
            ),
            (
                "blk.3.ffn_down.weight",
                "model.layers.3.mlp.down_proj.weight",
            ),
            (
                "blk.3.ffn_norm.weight",
                "model.layers.3.post_attention_layernorm.weight",
            ),
        ];
        for (llama_cpp, expected) in pairs {
            assert_eq!(hugging_face(llama_cpp, Family::Llama), expected);
            assert_eq!(super::llama_cpp(expected, Family::Llama), llama_cpp);
        }
    }

    #[test]
    fn the_norms_of_gemma_stand_elsewhere() {
        let name = |part: &str| {
            let theirs = format!("blk.1.{part}.weight");
            let ours = hugging_face(&theirs, Family::Gemma3);
            assert_eq!(llama_cpp(&ours, Family::Gemma3), theirs);
            ours
        };
        assert!(name("ffn_norm").ends_with(".pre_feedforward_layernorm.weight"));
        assert!(name("post_attention_norm").ends_with(".post_attention_layernorm.weight"));
        assert!(name("post_ffw_norm").ends_with(".post_feedforward_layernorm.weight"));
        assert!(name("attn_k_norm").ends_with(".self_attn.k_norm.weight"));
    }

    #[test]
    fn unknown_names_stay() {
        for name in [
            "rope_freqs.weight",
            "blk.0.post_ffw_norm.weight",
            "blk.x.attn_q.weight",
            "blk.0.attn_q.scale",
        ] {
            assert_eq!(hugging_face(name, Family::Llama), name);
        }
    }
}
