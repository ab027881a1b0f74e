//! The data sets by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How a file's records are to be read. Keys called optional may be absent, null or blank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `ZsRE` (Levy et al. 2017; as an editing benchmark De Cao et al. 2021, Mitchell et al. 2022): keys `src`,
    /// `alt` (the counterfactual target); optional `subject`, `rephrase`, `loc`, `loc_ans` and, in the one-hop
    /// file (Yao et al. 2023), `portability` with `New Question` and `New Answer`. Where `alt` is blank the target
    /// is the first of `answers`, the true one.
    Zsre,
    /// `CounterFact` (Meng et al. 2022), compact form: keys `prompt`, `target_new`; optional `subject`,
    /// `rephrase_prompt`, `locality_prompt`, `locality_ground_truth`.
    CounterFact,
    /// Hallucination: `WikiBio` articles that GPT-3 made up (Manakul et al. 2023), corrected sentence by sentence
    /// (Hartvigsen et al. 2023): keys `prompt` (the article so far), `target_new` (its next sentence); optional
    /// `subject`, `locality_prompt`, `locality_ground_truth`.
    Hallucination,
    /// Temporal: what changed about an entity after training (Hewitt et al. 2024; Wang et al. 2024): keys `prompt`,
    /// `target_new` (a paragraph); optional `subject`, `ood_rephrase` (another text about the same, to become
    /// [`ood`](crate::Record::ood)), `locality_prompt`, `locality_ground_truth`.
    Temporal,
    /// `QAEdit` (Yang et al. 2025): keys `prompt`, `target` (the true answer); optional `subject`, `rephrase` and
    /// `locality`, a list of objects with `loc` and the optional `loc_ans`.
    QaEdit,
    /// This project's own: keys `prompt`, `target`; optional `subject`, `rephrase`, `locality`, `portability`,
    /// `ood`. `locality` is a prompt, an object with `prompt` and the optional `answer`, or a list of either;
    /// `portability` is an object with `prompt` and `answer`, or a list of such.
    Jsonl,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "zsre" => Ok(Self::Zsre),
            "counterfact" => Ok(Self::CounterFact),
            "hallucination" => Ok(Self::Hallucination),
            "temporal" => Ok(Self::Temporal),
            "qaedit" => Ok(Self::QaEdit),
            "jsonl" => Ok(Self::Jsonl),
            _ => Err(format!(
                "unknown data format {text:?}, expected zsre, counterfact, hallucination, temporal, qaedit or jsonl"
            )),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zsre => "zsre",
            Self::CounterFact => "counterfact",
            Self::Hallucination => "hallucination",
            Self::Temporal => "temporal",
            Self::QaEdit => "qaedit",
            Self::Jsonl => "jsonl",
        })
    }
}
