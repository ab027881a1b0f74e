//! A model with its edits, fixed at one moment.

use std::sync::Arc;

use wise_memory::{Query, Recall, Recalled, Route, Unedited};
use wise_model::{EditSite, GenerateOptions, Generation, Model, Prompt, PromptFormat, Row};

use crate::Result;

/// A model with its edits, fixed at one moment: cheap to clone, safe to use while the editor goes on.
#[derive(Debug, Clone)]
pub struct Snapshot {
    model: Arc<Model>,
    learnt: Arc<dyn Recall>,
    format: PromptFormat,
}

/// A generated answer and the memory it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What was generated.
    pub generation: Generation,
    /// The memory that answered.
    pub route: Route,
}

/// What the model predicts while it is shown an answer, token by token.
#[derive(Debug, Clone, PartialEq)]
pub struct TeacherForced {
    /// The answer's tokens.
    pub answer: Vec<u32>,
    /// The likeliest token at each of them, given those before.
    pub predicted: Vec<u32>,
    /// Negative log-likelihood of each of the answer's tokens, in nats.
    pub nll: Vec<f32>,
    /// The memory that answered.
    pub route: Route,
}

impl Snapshot {
    /// A model with what an editor has learnt.
    pub fn new(model: Arc<Model>, learnt: Arc<dyn Recall>, format: PromptFormat) -> Self {
        Self {
            model,
            learnt,
            format,
        }
    }

    /// A model without edits.
    pub fn unedited(model: Arc<Model>, format: PromptFormat) -> Self {
        Self::new(model, Arc::new(Unedited), format)
    }

    /// The model underneath.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// What was learnt.
    pub fn learnt(&self) -> &Arc<dyn Recall> {
        &self.learnt
    }

    /// How questions are put to the model.
    pub fn format(&self) -> PromptFormat {
        self.format
    }

    /// The same edits, asked in another format than they were trained in.
    pub fn with_format(mut self, format: PromptFormat) -> Self {
        self.format = format;
        self
    }

    /// Answers a question; the route is decided from the question and holds for the whole answer.
    ///
    /// # Errors
    /// If the question is empty or does not fit the model's context.
    pub fn ask(&self, question: &str, options: &GenerateOptions) -> Result<Answer> {
        let prompt = self.model.prompt(self.format, "", question)?;
        self.answer(&prompt, options, None)
    }

    /// Answers several questions, each as [`Self::ask`] would, unless the router decides for all of them
    /// together ([`wise_memory::RoutedBy::Batch`]).
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn ask_together(
        &self,
        questions: &[&str],
        options: &GenerateOptions,
    ) -> Result<Vec<Answer>> {
        let prompts = questions
            .iter()
            .map(|question| Ok(self.model.prompt(self.format, "", question)?))
            .collect::<Result<Vec<_>>>()?;
        let mut decided = vec![None; prompts.len()];
        if self.learnt.routes_together() && !prompts.is_empty() {
            let rows: Vec<Row> = prompts.iter().map(|p| p.tokens.clone().into()).collect();
            let site = self.model.prefix(&rows, self.learnt.layer(), None)?;
            let queries: Vec<Query> = prompts
                .iter()
                .zip(site.layout.rows())
                .map(|(prompt, row)| query(prompt, row.start, row.len()))
                .collect();
            let recalled = self.learnt.recall(&self.model, &site, &queries);
            decided = recalled.into_iter().map(Some).collect();
        }
        prompts
            .iter()
            .zip(decided)
            .map(|(prompt, decided)| self.answer(prompt, options, decided))
            .collect()
    }

    fn answer(
        &self,
        prompt: &Prompt,
        options: &GenerateOptions,
        decided: Option<Recalled>,
    ) -> Result<Answer> {
        let mut route = Route::MAIN;
        let mut choose = |site: &EditSite| {
            let recalled = match &decided {
                Some(recalled) => recalled.clone(),
                None => self.recall(site, query(prompt, 0, prompt.tokens.len())),
            };
            route = recalled.route;
            recalled.overlay
        };
        let layer = self.learnt.layer();
        let generation = self.model.generate(prompt, layer, options, &mut choose)?;
        Ok(Answer { generation, route })
    }

    /// Shows the model a question and an answer and returns what it predicts at each of the answer's tokens.
    ///
    /// # Errors
    /// If a text is empty or both do not fit the model's context.
    pub fn teacher_forced(&self, question: &str, answer: &str) -> Result<TeacherForced> {
        let answered = self.model.answered(self.format, "", question, answer)?;
        self.shown(&answered.prompt, &answered.tokens)
    }

    /// Shows the model a sequence that begins with a prompt and returns what it predicts at each token after
    /// the prompt's. The route is decided from the prompt.
    ///
    /// # Errors
    /// If there is nothing after the prompt, or the sequence does not fit the model's context.
    pub fn shown(&self, prompt: &Prompt, tokens: &[u32]) -> Result<TeacherForced> {
        let first = prompt.tokens.len();
        if tokens.len() <= first {
            return Err(wise_model::Error::Empty { what: "answer" }.into());
        }
        let row = [tokens.to_vec().into()];
        let site = self.model.prefix(&row, self.learnt.layer(), None)?;
        let recalled = self.recall(&site, query(prompt, 0, tokens.len()));
        let output = self.model.site_output(&site, &recalled.overlay);
        let at: Vec<usize> = (first - 1..tokens.len() - 1).collect();
        let answer = tokens[first..].to_vec();
        let predictions = self
            .model
            .predictions(&site, output, &recalled.overlay, &at, &answer);
        let (predicted, nll) = predictions.into_iter().unzip();
        Ok(TeacherForced {
            predicted,
            nll,
            answer,
            route: recalled.route,
        })
    }

    fn recall(&self, site: &EditSite, query: Query) -> Recalled {
        let recalled = self.learnt.recall(&self.model, site, &[query]);
        recalled.into_iter().next().unwrap_or(Recalled {
            overlay: wise_model::Overlay::Main,
            route: Route::MAIN,
        })
    }
}

/// `start` is the packed token at which the sequence begins, `length` what it holds, the prompt first.
fn query(prompt: &Prompt, start: usize, length: usize) -> Query {
    Query {
        sequence: start..start + length,
        scope: start + prompt.scope.start..start + prompt.scope.end,
        prompt_end: start + prompt.tokens.len() - 1,
    }
}
