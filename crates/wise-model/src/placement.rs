//! Which device holds which layer.

use crate::Config;
use crate::source::expected_tensors;

/// For each layer the index of one of so many devices, in order, so that each holds about the same number of weights.
/// The embedding table comes before the layers and, with a table of its own, the head after them.
pub(crate) fn by_size(config: &Config, devices: usize) -> Vec<usize> {
    let mut sizes = vec![0; config.layers];
    let (mut before, mut all) = (0, 0);
    for (name, shape) in expected_tensors(config) {
        let size: usize = shape.iter().product();
        all += size;
        match layer_of(&name) {
            Some(layer) => sizes[layer] += size,
            None if name == "model.embed_tokens.weight" => before += size,
            None => {}
        }
    }
    let device = |size: usize| {
        let middle = before + size / 2;
        before += size;
        (middle * devices / all.max(1)).min(devices - 1)
    };
    sizes.into_iter().map(device).collect()
}

fn layer_of(name: &str) -> Option<usize> {
    let (layer, _) = name.strip_prefix("model.layers.")?.split_once('.')?;
    layer.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::tiny_config;

    #[test]
    fn layers_are_dealt_in_order_and_tables_count() {
        let config = Config {
            layers: 8,
            vocab_size: 1,
            tied_head: true,
            ..tiny_config()
        };
        assert_eq!(by_size(&config, 1), [0; 8]);
        assert_eq!(by_size(&config, 2), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(by_size(&config, 4), [0, 0, 1, 1, 2, 2, 3, 3]);
        let large = Config {
            vocab_size: 100_000,
            ..config.clone()
        };
        assert_eq!(by_size(&large, 2), [1; 8]);
        let untied = Config {
            tied_head: false,
            ..large
        };
        assert_eq!(by_size(&untied, 2), [0, 0, 0, 0, 1, 1, 1, 1]);
    }

    #[test]
    fn a_fifth_of_llama_2_7b_is_its_last_six_layers_and_its_head() {
        let config = Config {
            layers: 32,
            vocab_size: 32_000,
            hidden_size: 4096,
            ffn_size: 11_008,
            heads: 32,
            kv_heads: 32,
            head_dim: 128,
            tied_head: false,
            ..tiny_config()
        };
        let last = by_size(&config, 5).iter().filter(|&&d| d == 4).count();
        assert_eq!(last, 6);
    }
}
