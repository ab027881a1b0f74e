//! Whether the tensors of a source are the ones that a configuration asks for.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::TensorSource;
use crate::config::Norms;
use crate::{Config, Error, Result};

/// Names listed of each kind before the rest is only counted.
const LISTED: usize = 10;

/// A tensor whose shape is not the one the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misshaped {
    /// Hugging Face name of the tensor.
    pub name: String,
    /// Its shape in the file.
    pub got: Vec<usize>,
    /// The shape that the configuration asks for.
    pub expected: Vec<usize>,
}

impl fmt::Display for Misshaped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (got {:?}, expected {:?})",
            self.name, self.got, self.expected
        )
    }
}

/// How the tensors of a source differ from the ones the configuration asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Tensors that the configuration asks for and the source lacks.
    pub missing: Vec<String>,
    /// Tensors of the source that the model would not use.
    pub unused: Vec<String>,
    /// Tensors with another shape than the configuration asks for.
    pub misshaped: Vec<Misshaped>,
}

impl LoadReport {
    /// Compares the tensors of `source` with [`expected_tensors`].
    pub fn compare(config: &Config, source: &dyn TensorSource) -> Self {
        let expected = expected_tensors(config);
        let mut report = Self::default();
        for (name, shape) in &expected {
            match source.shape(name) {
                None => report.missing.push(name.clone()),
                Some(got) if got != *shape => {
                    let (name, expected) = (name.clone(), shape.clone());
                    report.misshaped.push(Misshaped {
                        name,
                        got,
                        expected,
                    });
                }
                Some(_) => {}
            }
        }
        let expected: HashSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        report.unused = source
            .names()
            .into_iter()
            .filter(|name| !expected.contains(name.as_str()) && !is_harmless(config, name))
            .collect();
        report.unused.sort();
        report
    }

    /// Passes if every tensor is there, in its shape, and none is left over.
    ///
    /// Extra tensors are an error because they show that the architecture is not the one that the
    /// configuration claims. Two kinds are let through: `rotary_emb.inv_freq`, which is computed
    /// here, and `lm_head.weight` of a model whose head shares the embedding table.
    ///
    /// # Errors
    ///
    /// [`Error::Weights`] with the differences.
    pub fn check(config: &Config, source: &dyn TensorSource) -> Result<()> {
        let report = Self::compare(config, source);
        if report.is_clean() {
            Ok(())
        } else {
            Err(Error::Weights(report))
        }
    }

    /// Whether there is no difference.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.misshaped.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("missing", self.missing.clone()),
            ("unused", self.unused.clone()),
            (
                "misshaped",
                self.misshaped.iter().map(ToString::to_string).collect(),
            ),
        ];
        let parts: Vec<String> = kinds
            .iter()
            .filter(|(_, items)| !items.is_empty())
            .map(|(kind, items)| listed(kind, items))
            .collect();
        if parts.is_empty() {
            return f.write_str("no difference");
        }
        f.write_str(&parts.join("; "))
    }
}

/// `3 missing: a, b, c`, shortened after [`LISTED`] names.
fn listed(kind: &str, items: &[String]) -> String {
    let shown = items[..items.len().min(LISTED)].join(", ");
    let rest = match items.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} {kind}: {shown}{rest}", items.len())
}

fn is_harmless(config: &Config, name: &str) -> bool {
    name.ends_with(".rotary_emb.inv_freq") || (config.tied_head && name == "lm_head.weight")
}

/// The tensors that a model of this configuration has, by the names that Hugging Face gives to a Llama's, with their
/// shapes.
pub fn expected_tensors(config: &Config) -> Vec<(String, Vec<usize>)> {
    let (hidden, vocabulary, family) = (config.hidden_size, config.vocab_size, config.family);
    let mut tensors = vec![(
        "model.embed_tokens.weight".to_owned(),
        vec![vocabulary, hidden],
    )];
    let mut push = |name: &str, shape: Vec<usize>| tensors.push((name.to_owned(), shape));
    if family.has_position_table() {
        push("model.embed_positions.weight", vec![config.context, hidden]);
    }
    let layer_shapes = layer_tensors(config);
    for layer in 0..config.layers {
        for (part, shape) in &layer_shapes {
            push(&format!("model.layers.{layer}.{part}"), shape.clone());
        }
    }
    push("model.norm.weight", vec![hidden]);
    if family.is_gpt() {
        push("model.norm.bias", vec![hidden]);
    }
    if !config.tied_head {
        push("lm_head.weight", vec![vocabulary, hidden]);
    }
    if family.has_head_bias() {
        push("lm_head.bias", vec![vocabulary]);
    }
    tensors
}

fn layer_tensors(config: &Config) -> Vec<(&'static str, Vec<usize>)> {
    let (hidden, ffn, family) = (config.hidden_size, config.ffn_size, config.family);
    let queries = config.heads * config.head_dim;
    let keys = config.kv_heads * config.head_dim;
    let mut tensors = vec![
        ("input_layernorm.weight", vec![hidden]),
        ("self_attn.q_proj.weight", vec![queries, hidden]),
        ("self_attn.k_proj.weight", vec![keys, hidden]),
        ("self_attn.v_proj.weight", vec![keys, hidden]),
        ("self_attn.o_proj.weight", vec![hidden, queries]),
        ("mlp.up_proj.weight", vec![ffn, hidden]),
        ("mlp.down_proj.weight", vec![hidden, ffn]),
    ];
    let mut push_if = |wanted: bool, more: &[(&'static str, usize)]| {
        if wanted {
            tensors.extend(more.iter().map(|&(name, width)| (name, vec![width])));
        }
    };
    push_if(
        config.qkv_bias,
        &[
            ("self_attn.q_proj.bias", queries),
            ("self_attn.k_proj.bias", keys),
            ("self_attn.v_proj.bias", keys),
        ],
    );
    push_if(
        family.normed_heads(),
        &[
            ("self_attn.q_norm.weight", config.head_dim),
            ("self_attn.k_norm.weight", config.head_dim),
        ],
    );
    push_if(
        family.norms() != Norms::Shared,
        &[("post_attention_layernorm.weight", hidden)],
    );
    push_if(
        family.norms() == Norms::BeforeAndBehind,
        &[
            ("pre_feedforward_layernorm.weight", hidden),
            ("post_feedforward_layernorm.weight", hidden),
        ],
    );
    push_if(
        family.is_gpt(),
        &[
            ("input_layernorm.bias", hidden),
            ("mlp.up_proj.bias", ffn),
            ("mlp.down_proj.bias", hidden),
        ],
    );
    push_if(
        family.is_gpt() && family.norms() != Norms::Shared,
        &[("post_attention_layernorm.bias", hidden)],
    );
    push_if(
        family.has_output_bias(),
        &[("self_attn.o_proj.bias", hidden)],
    );
    if !family.is_gpt() {
        tensors.push(("mlp.gate_proj.weight", vec![ffn, hidden]));
    }
    tensors
}

/// Refuses sizes that no model has, before anything is computed from them.
///
/// # Errors
///
/// [`Error::UnsupportedConfig`] with the first bad setting.
pub(super) fn check_sizes(config: &Config) -> Result<()> {
    let sizes = [
        ("vocabulary size", config.vocab_size),
        ("hidden size", config.hidden_size),
        ("feed-forward size", config.ffn_size),
        ("number of layers", config.layers),
        ("number of query heads", config.heads),
        ("number of key and value heads", config.kv_heads),
        ("head dimension", config.head_dim),
        ("context length", config.context),
        ("sliding window", config.sliding_window.unwrap_or(1)),
        (
            "layers for one that sees all tokens",
            config.local.map_or(1, |local| local.global_every),
        ),
    ];
    for (key, size) in sizes {
        // Small enough that a product of two fits in 64 bits with room to spare.
        if size == 0 || size > 1 << 30 {
            return Err(unsupported(key, size, "1 to 2^30"));
        }
    }
    if config.layers > 4096 {
        return Err(unsupported(
            "number of layers",
            config.layers,
            "at most 4096",
        ));
    }
    if !config.heads.is_multiple_of(config.kv_heads) {
        let expected = format!("a divisor of the {} query heads", config.heads);
        return Err(unsupported(
            "number of key and value heads",
            config.kv_heads,
            expected,
        ));
    }
    if !config.head_dim.is_multiple_of(2) {
        return Err(unsupported(
            "head dimension",
            config.head_dim,
            "an even number",
        ));
    }
    if !config.rotary_dim.is_multiple_of(2) || config.rotary_dim > config.head_dim {
        let expected = format!(
            "an even number up to {} (the head dimension)",
            config.head_dim
        );
        return Err(unsupported("rotary_dim", config.rotary_dim, expected));
    }
    if config
        .heads
        .checked_mul(config.head_dim)
        .is_none_or(|width| width > 1 << 30)
    {
        return Err(unsupported(
            "query heads times head dimension",
            "too large",
            "at most 2^30",
        ));
    }
    check_positive("norm_eps", config.norm_eps)?;
    check_positive("rope_theta", config.rope_theta)?;
    check_positive("attention scale", config.attention_scale)?;
    match config.local {
        Some(local) => check_positive("rope_theta of local layers", local.rope_theta),
        None => Ok(()),
    }
}

fn check_positive(key: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(unsupported(key, value, "a positive finite number"))
}

/// An [`Error::UnsupportedConfig`].
pub(super) fn unsupported(
    key: impl Into<String>,
    got: impl fmt::Display,
    expected: impl Into<String>,
) -> Error {
    Error::UnsupportedConfig {
        key: key.into(),
        got: got.to_string(),
        expected: expected.into(),
    }
}

/// The tensors of one model by Hugging Face name, refusing two of one name.
pub(super) fn index_by_name<T>(
    entries: impl IntoIterator<Item = (String, T)>,
) -> std::result::Result<HashMap<String, T>, String> {
    let mut index = HashMap::new();
    for (name, entry) in entries {
        if index.contains_key(&name) {
            return Err(format!("tensor {name} occurs twice, expected once"));
        }
        index.insert(name, entry);
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{MemorySource, tiny_config};
    use super::*;

    #[test]
    fn a_source_with_exactly_the_expected_tensors_passes() {
        let config = tiny_config();
        LoadReport::check(&config, &MemorySource::complete(&config)).unwrap();
    }

    #[test]
    fn names_and_shapes_follow_hugging_face() {
        let mut config = tiny_config();
        config.qkv_bias = true;
        config.tied_head = false;
        let tensors: HashMap<_, _> = expected_tensors(&config).into_iter().collect();
        assert_eq!(tensors["model.embed_tokens.weight"], [5, 8]);
        assert_eq!(tensors["model.layers.1.self_attn.k_proj.weight"], [4, 8]);
        assert_eq!(tensors["model.layers.0.mlp.down_proj.weight"], [8, 6]);
        assert_eq!(tensors["model.layers.0.self_attn.v_proj.bias"], [4]);
        assert_eq!(tensors["lm_head.weight"], [5, 8]);
        assert_eq!(tensors.len(), 1 + 2 * 12 + 1 + 1);
    }

    #[test]
    fn missing_unused_and_misshaped_tensors_are_all_listed() {
        let config = tiny_config();
        let mut source = MemorySource::complete(&config);
        source.remove("model.norm.weight");
        source.insert("model.layers.0.extra", vec![1]);
        source.insert("model.layers.0.mlp.down_proj.weight", vec![6, 8]);
        let error = LoadReport::check(&config, &source).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the weights do not fit the configuration: 1 missing: model.norm.weight; \
             1 unused: model.layers.0.extra; \
             1 misshaped: model.layers.0.mlp.down_proj.weight (got [6, 8], expected [8, 6])"
        );
    }

    #[test]
    fn computed_frequencies_and_a_copy_of_a_tied_head_are_harmless() {
        let mut config = tiny_config();
        let mut source = MemorySource::complete(&config);
        source.insert("model.layers.0.self_attn.rotary_emb.inv_freq", vec![2]);
        source.insert("lm_head.weight", vec![5, 8]);
        LoadReport::check(&config, &source).unwrap();
        config.tied_head = false;
        source.remove("lm_head.weight");
        assert!(LoadReport::check(&config, &source).is_err());
    }

    #[test]
    fn long_lists_are_cut_with_a_count() {
        let missing = (0..13).map(|i| format!("t{i}")).collect();
        let text = LoadReport {
            missing,
            ..LoadReport::default()
        }
        .to_string();
        assert!(
            text.starts_with("13 missing: t0, t1") && text.ends_with("t9 and 3 more"),
            "{text}"
        );
    }

    type Spoil = fn(&mut Config);

    #[test]
    fn absurd_sizes_are_refused() {
        let bad: [(&str, Spoil); 8] = [
            ("hidden size is 0", |c| c.hidden_size = 0),
            ("layers is 1073741824", |c| c.layers = 1 << 30),
            ("divisor of the 2 query heads", |c| c.kv_heads = 3),
            ("head dimension is 3", |c| c.head_dim = 3),
            ("vocabulary size", |c| c.vocab_size = usize::MAX),
            ("rope_theta is NaN", |c| c.rope_theta = f64::NAN),
            ("sliding window is 0", |c| c.sliding_window = Some(0)),
            ("query heads times head dimension", |c| {
                (c.heads, c.head_dim) = (1 << 30, 1 << 30);
            }),
        ];
        check_sizes(&tiny_config()).unwrap();
        for (expected, spoil) in bad {
            let mut config = tiny_config();
            spoil(&mut config);
            let error = check_sizes(&config).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
