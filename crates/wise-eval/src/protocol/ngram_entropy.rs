//! How little a text repeats itself: the weighted n-gram entropy that ROME calls fluency (Meng et al. 2022,
//! after Zhang et al. 2018).

use std::collections::HashMap;

/// `(2/3 H_2 + 4/3 H_3) / 2` in bits, where `H_n = - sum_g f(g) log2 f(g)` over the frequencies `f` of the text's
/// runs of `n` words. 0 where there are fewer than three words.
pub fn ngram_entropy(text: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    entropy(&words, 2) / 3.0 + entropy(&words, 3) * 2.0 / 3.0
}

fn entropy(words: &[&str], n: usize) -> f64 {
    let mut counts: HashMap<&[&str], usize> = HashMap::new();
    for run in words.windows(n) {
        *counts.entry(run).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    // Sorted, so that the sum does not depend on the map's order.
    let mut counts: Vec<usize> = counts.into_values().collect();
    counts.sort_unstable();
    counts
        .iter()
        .map(|&count| count as f64 / total as f64)
        .map(|f| -f * f.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_words_have_much_entropy_and_repeated_ones_none() {
        // Four bigrams and three trigrams, all different: (2/3 * 2 + 4/3 * log2 3) / 2.
        let expected = 2.0 / 3.0 + 3.0_f64.log2() * 2.0 / 3.0;
        assert!((ngram_entropy("a b c d e") - expected).abs() < 1e-12);
        assert_eq!(ngram_entropy("a a a a a"), 0.0);
        assert_eq!(ngram_entropy("a"), 0.0);
        assert_eq!(ngram_entropy(""), 0.0);
    }
}
