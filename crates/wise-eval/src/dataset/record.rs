//! What every data set is turned into.

use serde::{Deserialize, Serialize};
use wise_edit::Edit;

/// One record of a benchmark. What it lacks is not scored.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// The question or beginning of a text to edit.
    pub prompt: String,
    /// The answer or continuation it shall get.
    pub target: String,
    /// What the fact is about; its case need not be that of the prompt.
    pub subject: Option<String>,
    /// The prompt in other words, for generalization.
    pub rephrase: Option<String>,
    /// Unrelated prompts, whose answers shall stay as they are. An answer is fed in under the teacher-forced
    /// protocol and used nowhere else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locality: Vec<Probe>,
    /// What follows from the edit: prompts with the answers they shall then get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub portability: Vec<Probe>,
    /// A whole text outside the edit's distribution, which the edit should make likelier or leave plausible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ood: Option<String>,
}

/// A prompt that is not the edit's own, put to the model after editing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// The prompt.
    pub prompt: String,
    /// Its answer, if known.
    pub answer: Option<String>,
    /// What kind of unrelated prompt it is, such as `near_miss`: locality is scored for each kind too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

impl Record {
    /// Bytes of all its texts.
    pub(crate) fn bytes(&self) -> usize {
        let probes = self.locality.iter().chain(&self.portability);
        let probes = probes.map(|p| p.prompt.len() + p.answer.as_ref().map_or(0, String::len));
        let rephrase = self.rephrase.as_ref().map_or(0, String::len);
        self.prompt.len() + 2 * self.target.len() + rephrase + probes.sum::<usize>()
    }

    /// What an editor may see.
    pub fn edit(&self) -> Edit {
        Edit {
            prompt: self.prompt.clone(),
            target: self.target.clone(),
            subject: self.subject.clone(),
        }
    }
}
