//! A model with its edits, fixed at one moment.

use std::ops::Range;
use std::sync::Arc;

use wise_memory::{Considered, Oracle, Query, Reading, Recall, Route, Unedited};
use wise_model::{
    EditSite, GenerateOptions, Generation, Message, Model, Overlay, Prompt, PromptFormat, Row,
};

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

/// Questions that a router may decide on together ([`wise_memory::RoutedBy::Batch`]); any other decides on each by
/// itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<'a> {
    /// The questions.
    pub questions: Vec<&'a str>,
    /// How each is answered.
    pub options: GenerateOptions,
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

    /// How many batches are worth asking side by side: one per thread where the processor computes; elsewhere one, which
    /// fills the device and has its memory for itself.
    pub fn batches_at_once(&self) -> usize {
        if self.model.is_on_cpu() {
            rayon::current_num_threads()
        } else {
            1
        }
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

    /// The same edits behind a router that knows which of them is asked about; none where no router decides or there is
    /// no such edit.
    pub fn oracle(&self, edit: usize) -> Option<Self> {
        let oracle = Oracle {
            layer: self.learnt.layer(),
            edit,
            known: self.learnt.known(edit)?,
        };
        Some(Self::new(
            Arc::clone(&self.model),
            Arc::new(oracle),
            self.format,
        ))
    }

    /// Answers a question; the route is decided from the question and holds for the whole answer.
    ///
    /// # Errors
    /// If the question is empty or does not fit the model's context.
    pub fn ask(&self, question: &str, options: &GenerateOptions) -> Result<Answer> {
        let batch = Batch {
            questions: vec![question],
            options: options.clone(),
        };
        let answer = self.ask_batches(&[batch])?.pop();
        Ok(answer.ok_or(wise_model::Error::Empty { what: "question" })?)
    }

    /// Answers a question that follows earlier messages of a chat, if there are any. The question alone decides the route, and the earlier
    /// messages are read by the memory that it leads to.
    ///
    /// # Errors
    /// As [`Self::ask`], or if the model has no chat template.
    pub fn ask_in_chat(
        &self,
        earlier: &[Message],
        question: &str,
        options: &GenerateOptions,
    ) -> Result<Answer> {
        let (prompt, given) = self.prompt(earlier, question)?;
        let answer = self.answers(&[(&prompt, options)], &[1])?.pop();
        let answer = answer.ok_or(wise_model::Error::Empty { what: "question" })?;
        Ok(Answer {
            route: given.unwrap_or(answer.route),
            ..answer
        })
    }

    /// Answers the questions of some batches side by side, in order, each as [`Self::ask`] would to rounding.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn ask_batches(&self, batches: &[Batch<'_>]) -> Result<Vec<Answer>> {
        let sizes: Vec<usize> = batches.iter().map(|b| b.questions.len()).collect();
        let questions = batches
            .iter()
            .flat_map(|batch| batch.questions.iter().map(|q| (*q, &batch.options)));
        let prompts = questions
            .map(|(question, options)| Ok((self.prompt(&[], question)?, options)))
            .collect::<Result<Vec<_>>>()?;
        let given: Vec<_> = prompts.iter().map(|((_, given), _)| *given).collect();
        let prompts: Vec<_> = prompts.iter().map(|((p, _), o)| (p, *o)).collect();
        let mut answers = self.answers(&prompts, &sizes)?;
        for (answer, given) in answers.iter_mut().zip(given) {
            answer.route = given.unwrap_or(answer.route);
        }
        Ok(answers)
    }

    /// A question as tokens, and the route where what is put in front of it decides that.
    fn prompt(&self, earlier: &[Message], question: &str) -> Result<(Prompt, Option<Route>)> {
        let given = self.learnt.given(question);
        let prompt = if earlier.is_empty() {
            self.model.prompt(self.format, &given.text, question)?
        } else {
            let model = &self.model;
            model.prompt_in_chat(earlier, &given.text, question)?
        };
        Ok((prompt, given.route))
    }

    fn answers(
        &self,
        prompts: &[(&Prompt, &GenerateOptions)],
        sizes: &[usize],
    ) -> Result<Vec<Answer>> {
        let scopes = prompts.iter().map(|(p, _)| &p.tokens[p.scope.clone()]);
        let readings = self.learnt.read(&self.model, &scopes.collect::<Vec<_>>())?;
        let mut routes = Vec::new();
        let mut choose = |site: &EditSite| {
            let prompts: Vec<&Prompt> = prompts.iter().map(|(prompt, _)| *prompt).collect();
            let (overlays, taken) = self.recall(site, &prompts, &readings, sizes);
            routes = taken;
            overlays
        };
        let layer = self.learnt.layer();
        let generations = self.model.generate_together(prompts, layer, &mut choose)?;
        let answers = generations.into_iter().zip(routes);
        Ok(answers
            .map(|(generation, route)| Answer { generation, route })
            .collect())
    }

    /// Shows the model a question and an answer and returns what it predicts at each of the answer's tokens.
    ///
    /// # Errors
    /// If a text is empty or both do not fit the model's context.
    pub fn teacher_forced(&self, question: &str, answer: &str) -> Result<TeacherForced> {
        let shown = self.teacher_forced_together(&[(question, answer)])?.pop();
        Ok(shown.ok_or(wise_model::Error::Empty { what: "answer" })?)
    }

    /// [`Self::teacher_forced`] for several questions and their answers, side by side.
    ///
    /// # Errors
    /// As [`Self::teacher_forced`].
    pub fn teacher_forced_together(&self, pairs: &[(&str, &str)]) -> Result<Vec<TeacherForced>> {
        let answered = pairs
            .iter()
            .map(|(question, answer)| {
                let given = self.learnt.given(question);
                let model = &self.model;
                let answered = model.answered(self.format, &given.text, question, answer)?;
                Ok(((answered.prompt, answered.tokens), given.route))
            })
            .collect::<Result<Vec<_>>>()?;
        let (answered, given): (Vec<_>, Vec<_>) = answered.into_iter().unzip();
        let mut shown = self.shown_together(&answered)?;
        for (shown, given) in shown.iter_mut().zip(given) {
            shown.route = given.unwrap_or(shown.route);
        }
        Ok(shown)
    }

    /// Shows the model a sequence that begins with a prompt and returns what it predicts at each token after
    /// the prompt's. The route is decided from the prompt.
    ///
    /// # Errors
    /// If there is nothing after the prompt, or the sequence does not fit the model's context.
    pub fn shown(&self, prompt: &Prompt, tokens: &[u32]) -> Result<TeacherForced> {
        let shown = self.shown_together(&[(prompt.clone(), tokens.to_vec())])?;
        let shown = shown.into_iter().next();
        Ok(shown.ok_or(wise_model::Error::Empty { what: "answer" })?)
    }

    fn shown_together(&self, sequences: &[(Prompt, Vec<u32>)]) -> Result<Vec<TeacherForced>> {
        if sequences.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows: Vec<Row> = Vec::new();
        for (prompt, tokens) in sequences {
            if tokens.len() <= prompt.tokens.len() {
                return Err(wise_model::Error::Empty { what: "answer" }.into());
            }
            rows.push(tokens.clone().into());
        }
        let site = self.model.prefix(&rows, self.learnt.layer(), None)?;
        let prompts: Vec<&Prompt> = sequences.iter().map(|(prompt, _)| prompt).collect();
        let scopes = sequences.iter().map(|(p, all)| &all[p.scope.clone()]);
        let readings = self.learnt.read(&self.model, &scopes.collect::<Vec<_>>())?;
        let alone = vec![1; prompts.len()];
        let (overlays, routes) = self.recall(&site, &prompts, &readings, &alone);
        let output = self.model.site_output_by_row(&site, &overlays)?;
        let (mut at, mut labels) = (Vec::new(), Vec::new());
        for ((prompt, tokens), row) in sequences.iter().zip(site.layout.rows()) {
            let first = prompt.tokens.len();
            at.extend(row.start + first - 1..row.end - 1);
            labels.extend_from_slice(&tokens[first..]);
        }
        let predictions = self
            .model
            .predictions(&site, output, &overlays[0], &at, &labels);
        let mut predictions = predictions.into_iter();
        let of_sequence = |((prompt, tokens), route): (&(Prompt, Vec<u32>), Route)| {
            let answer = tokens[prompt.tokens.len()..].to_vec();
            let (predicted, nll) = predictions.by_ref().take(answer.len()).unzip();
            TeacherForced {
                answer,
                predicted,
                nll,
                route,
            }
        };
        Ok(sequences.iter().zip(routes).map(of_sequence).collect())
    }

    /// What the router finds at each side memory when it reads a question that follows earlier messages, oldest memory
    /// first; nothing where none decides.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn considered(&self, earlier: &[Message], question: &str) -> Result<Vec<Considered>> {
        let (prompt, _) = self.prompt(earlier, question)?;
        let words = &prompt.tokens[prompt.scope.clone()];
        let reading = self.learnt.read(&self.model, &[words])?.remove(0);
        let row = Row::from(prompt.tokens.clone());
        let site = self.model.prefix(&[row], self.learnt.layer(), None)?;
        let query = query(&prompt, &(0..prompt.tokens.len()), reading);
        Ok(self.learnt.considered(&self.model, &site, &query))
    }

    /// What answers each row of a site, each of which begins with its prompt. Where the router decides on several
    /// together, it decides on as many at a time as `together` says.
    fn recall(
        &self,
        site: &EditSite,
        prompts: &[&Prompt],
        readings: &[Option<Reading>],
        together: &[usize],
    ) -> (Vec<Overlay>, Vec<Route>) {
        let rows = site.layout.rows().iter().zip(prompts).zip(readings);
        let queries: Vec<Query> = rows
            .map(|((row, prompt), reading)| query(prompt, row, reading.clone()))
            .collect();
        let recall = |queries: &[Query]| self.learnt.recall(&self.model, site, queries);
        let mut left = queries.as_slice();
        let recalled = if self.learnt.routes_together() {
            let mut next = |&size: &usize| {
                let (batch, rest) = left.split_at(size);
                left = rest;
                recall(batch)
            };
            together.iter().flat_map(&mut next).collect()
        } else {
            recall(&queries)
        };
        recalled.into_iter().map(|r| (r.overlay, r.route)).unzip()
    }
}

fn query(prompt: &Prompt, row: &Range<usize>, reading: Option<Reading>) -> Query {
    Query {
        sequence: row.clone(),
        scope: row.start + prompt.scope.start..row.start + prompt.scope.end,
        prompt_end: row.start + prompt.tokens.len() - 1,
        reading,
    }
}
