//! Retrieval: nothing is edited. The edit's own sentence is put in front of a question that looks like its prompt.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bm25::{Embedder, EmbedderBuilder, Scorer, Tokenizer};
use serde::{Deserialize, Serialize};
use wise_memory::{Given, Query, Recall, Recalled, Route};
use wise_model::{EditSite, Model, Overlay, PromptFormat};

use crate::edit::{check_history, replaced_by};
use crate::error::require;
use crate::{AppliedEdit, Edit, Editor, Error, Made, Result, Snapshot, StatePart, Watch};

/// Hyperparameters of [`Retrieval`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrievalConfig {
    /// How questions are put to the model; by default chat where it has a template.
    pub prompt_format: Option<PromptFormat>,
    /// BM25 score of a question from which on the sentence is given, as a share of what the edit's own prompt scores.
    /// At the default 3 % of the near misses of 999 `ZsRE` training edits pass.
    pub fit: f64,
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self {
            prompt_format: None,
            fit: 0.77,
        }
    }
}

/// The rival that changes no model: BM25 (Robertson and Zaragoza 2009) looks for the edit whose prompt is most like a
/// question, and its prompt and target are put in front of the question, a line of their own. The model has to make
/// the rest of it.
///
/// Where a text is scored that is no question (perplexity), nothing is put in front.
#[derive(Debug)]
pub struct Retrieval {
    model: Arc<Model>,
    config: RetrievalConfig,
    format: PromptFormat,
    history: Vec<AppliedEdit>,
}

impl Retrieval {
    /// An editor without edits.
    ///
    /// # Errors
    /// On a threshold out of range, or a chat format that the model lacks.
    pub fn new(model: Arc<Model>, mut config: RetrievalConfig) -> Result<Self> {
        let fit = config.fit;
        require("fit", fit, fit >= 0.0 && fit.is_finite(), "0 or more")?;
        let format = *config.prompt_format.get_or_insert(model.default_format());
        model.prompt(format, "", "a question")?;
        Ok(Self {
            model,
            config,
            format,
            history: Vec::new(),
        })
    }

    fn learn(&mut self, stream: &[Edit], from: usize, watch: &mut dyn Watch) -> Result<()> {
        for (index, edit) in stream.iter().enumerate().skip(from) {
            let started = Instant::now();
            let id = self.history.len() + 1;
            for (field, text) in [("prompt", &edit.prompt), ("target", &edit.target)] {
                if text.trim().is_empty() {
                    return Err(Error::EmptyField { index: id, field });
                }
            }
            let applied = AppliedEdit {
                id,
                edit: edit.clone(),
                supersedes: replaced_by(edit, &self.history),
                first_negative: 0,
                iterations: 0,
                edit_loss: 0.0,
                router_loss: 0.0,
                activation: 1.0,
            };
            self.history.push(applied.clone());
            let made = Made {
                editor: self,
                index,
                applied: &applied,
                seconds: started.elapsed().as_secs_f64(),
                at_once: 1,
            };
            if watch.made(made).is_break() {
                break;
            }
        }
        Ok(())
    }
}

const NAME: &str = "retrieval";

impl Editor for Retrieval {
    fn name(&self) -> &'static str {
        NAME
    }

    fn model(&self) -> &Arc<Model> {
        &self.model
    }

    fn format(&self) -> PromptFormat {
        self.format
    }

    fn hyperparameters(&self) -> Result<serde_json::Value> {
        Ok(serde_json::to_value(&self.config)?)
    }

    fn seed(&self) -> u64 {
        0
    }

    fn iterations(&self) -> usize {
        0
    }

    fn apply(&mut self, edits: &[Edit], watch: &mut dyn Watch) -> Result<Vec<AppliedEdit>> {
        let before = self.history.len();
        self.learn(edits, 0, watch)?;
        Ok(self.history[before..].to_vec())
    }

    fn resume(
        &mut self,
        stream: &[Edit],
        parts: Vec<StatePart>,
        watch: &mut dyn Watch,
    ) -> Result<()> {
        for part in parts {
            let foreign = |detail: String| Error::StatePart {
                name: part.name.clone(),
                detail,
            };
            let history: Vec<AppliedEdit> =
                serde_json::from_str(&part.header).map_err(|e| foreign(e.to_string()))?;
            check_history(&history, stream).map_err(foreign)?;
            self.history = history;
        }
        self.learn(stream, self.history.len(), watch)
    }

    fn history(&self) -> Vec<&AppliedEdit> {
        self.history.iter().collect()
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let library = Library::new(&self.history, self.config.fit as f32);
        Ok(Snapshot::new(
            Arc::clone(&self.model),
            Arc::new(library),
            self.format,
        ))
    }

    fn part_of(&self, id: usize) -> Result<StatePart> {
        if !(1..=self.history.len()).contains(&id) {
            return Err(Error::NoSuchEdit { id });
        }
        Ok(StatePart {
            name: NAME.to_owned(),
            header: serde_json::to_string(&self.history)?,
            tensors: BTreeMap::new(),
        })
    }
}

/// Lower-case words.
#[derive(Debug, Default)]
struct Words;

impl Tokenizer for Words {
    fn tokenize(&self, text: &str) -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        let words = words.filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    }
}

/// The edits to look in, of a prompt edited twice the newest.
struct Library {
    embedder: Embedder<u32, Words>,
    scorer: Scorer<usize, u32>,
    /// Of each edit, its id, what is put in front, and what its own prompt scores.
    edits: Vec<(usize, String, f32)>,
    fit: f32,
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Library")
            .field("edits", &self.edits)
            .finish_non_exhaustive()
    }
}

impl Library {
    fn new(history: &[AppliedEdit], fit: f32) -> Self {
        let replaced: HashSet<usize> = history.iter().filter_map(|e| e.supersedes).collect();
        let held = history.iter().filter(|e| !replaced.contains(&e.id));
        let held: Vec<&AppliedEdit> = held.collect();
        let prompts: Vec<&str> = held.iter().map(|held| &*held.edit.prompt).collect();
        let embedder: Embedder<u32, Words> =
            EmbedderBuilder::with_tokenizer_and_fit_to_corpus(Words, &prompts).build();
        let mut scorer = Scorer::new();
        for (index, prompt) in prompts.iter().enumerate() {
            scorer.upsert(&index, embedder.embed(prompt));
        }
        let entry = |(index, held): (usize, &&AppliedEdit)| {
            let edit = &held.edit;
            let sentence = format!("{} {}\n", edit.prompt.trim(), edit.target.trim());
            let own = scorer.score(&index, &embedder.embed(&edit.prompt));
            (held.id, sentence, own.unwrap_or(0.0))
        };
        let edits = held.iter().enumerate().map(entry).collect();
        Self {
            embedder,
            scorer,
            edits,
            fit,
        }
    }
}

impl Recall for Library {
    fn layer(&self) -> usize {
        0
    }

    fn given(&self, question: &str) -> Given {
        let found = self.scorer.matches(&self.embedder.embed(question));
        let fits = found.iter().map(|document| {
            let (id, sentence, own) = &self.edits[document.id];
            (document.score / own.max(f32::MIN_POSITIVE), *id, sentence)
        });
        let best = fits.max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let Some((activation, id, sentence)) = best else {
            return Given::default();
        };
        let fits = activation > self.fit;
        Given {
            text: if fits {
                sentence.clone()
            } else {
                String::new()
            },
            route: Some(Route {
                memory: fits.then_some(0),
                activation,
                threshold: self.fit,
                edit: Some(id),
            }),
        }
    }

    fn recall(&self, _: &Model, _: &EditSite, queries: &[Query]) -> Vec<Recalled> {
        let main = Recalled {
            overlay: Overlay::Main,
            route: Route::MAIN,
        };
        vec![main; queries.len()]
    }

    fn memory_of(&self, edit: usize) -> Option<usize> {
        let holds = self.edits.iter().any(|(id, ..)| *id == edit);
        holds.then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use wise_model::GenerateOptions;

    use super::*;
    use crate::EditProgress;
    use crate::testing::tiny_model;

    fn editor(fit: f64) -> Retrieval {
        let config = RetrievalConfig {
            prompt_format: Some(PromptFormat::Raw),
            fit,
        };
        let mut editor = Retrieval::new(tiny_model(1), config).unwrap();
        let edit = |prompt, target| Edit::new(prompt, target);
        let edits = [
            edit("Where is Ys?", "Land"),
            edit("Where is Troy?", "Asia"),
            edit("Where is Ys?", "Sea"),
        ];
        editor.apply(&edits, &mut |_: EditProgress| {}).unwrap();
        editor
    }

    #[test]
    fn the_sentence_of_the_nearest_edit_is_given_and_of_a_fact_the_newest() {
        let library = Library::new(&editor(0.7).history, 0.7);
        let given = |question| library.given(question).text;
        assert_eq!(given("where is ys"), "Where is Ys? Sea\n");
        assert_eq!(given("Where is Troy now?"), "Where is Troy? Asia\n");
        assert_eq!(given("Where is Rome?"), "");
        assert_eq!(given("Hm"), "");
        assert_eq!(
            (library.memory_of(1), library.memory_of(3)),
            (None, Some(0))
        );
    }

    #[test]
    fn a_question_is_answered_behind_what_is_given() {
        let snapshot = editor(0.7).snapshot().unwrap();
        let options = GenerateOptions {
            max_new_tokens: 5,
            ..GenerateOptions::default()
        };
        let unedited = Snapshot::unedited(tiny_model(1), PromptFormat::Raw);
        let answer = snapshot.ask("Where is Ys?", &options).unwrap();
        let by_hand = "Where is Ys? Sea\nWhere is Ys?";
        assert_eq!(
            answer.generation,
            unedited.ask(by_hand, &options).unwrap().generation
        );
        assert_eq!((answer.route.memory, answer.route.edit), (Some(0), Some(3)));
        let shown = snapshot.teacher_forced("Where is Ys?", "Sea").unwrap();
        assert_eq!(
            shown.nll,
            unedited.teacher_forced(by_hand, "Sea").unwrap().nll
        );
        let other = snapshot.ask("Who?", &options).unwrap();
        assert_eq!(
            other.generation,
            unedited.ask("Who?", &options).unwrap().generation
        );
        assert_eq!(other.route.memory, None);
    }

    #[test]
    fn an_interrupted_run_goes_on() {
        let whole = editor(0.7);
        let stream: Vec<Edit> = whole.history.iter().map(|e| e.edit.clone()).collect();
        let part = {
            let mut begun = Retrieval::new(tiny_model(1), whole.config.clone()).unwrap();
            begun
                .apply(&stream[..2], &mut |_: EditProgress| {})
                .unwrap();
            begun.part_of(2).unwrap()
        };
        let mut resumed = Retrieval::new(tiny_model(1), whole.config.clone()).unwrap();
        resumed
            .resume(&stream, vec![part.clone()], &mut |_: EditProgress| {})
            .unwrap();
        assert_eq!(resumed.history, whole.history);
        let other = [Edit::new("a", "b")];
        let mut fresh = Retrieval::new(tiny_model(1), whole.config).unwrap();
        let refused = fresh.resume(&other, vec![part], &mut |_: EditProgress| {});
        assert!(
            matches!(refused, Err(Error::StatePart { .. })),
            "{refused:?}"
        );
    }
}
