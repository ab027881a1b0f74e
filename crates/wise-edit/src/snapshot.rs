//! A model with its edits, fixed at one moment.

use std::sync::Arc;

use wise_memory::{Memories, Route, Router, ThresholdRouter};
use wise_model::{EditSite, GenerateOptions, Generation, Model, PromptFormat, argmax};

use crate::{Result, WiseConfig};

/// A model with its edits, fixed at one moment: cheap to clone, safe to use while the editor goes on.
#[derive(Debug, Clone)]
pub struct Snapshot {
    model: Arc<Model>,
    memories: Arc<Memories>,
    router: ThresholdRouter,
    routes_by_prompt: bool,
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
    /// The memory that answered.
    pub route: Route,
}

impl Snapshot {
    /// A model with these memories, routed as `config` says.
    pub fn new(model: Arc<Model>, config: &WiseConfig, memories: Memories) -> Self {
        Self {
            router: config.router(),
            routes_by_prompt: config.compat.routes_by_prompt(),
            format: config.format_for(&model),
            memories: Arc::new(memories),
            model,
        }
    }

    /// A model without edits.
    pub fn unedited(model: Arc<Model>, format: PromptFormat) -> Self {
        let config = WiseConfig {
            prompt_format: Some(format),
            ..WiseConfig::default()
        };
        let memories = Memories {
            layer: 0,
            side: Vec::new(),
        };
        Self::new(model, &config, memories)
    }

    /// The model underneath.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The side memories.
    pub fn memories(&self) -> &Memories {
        &self.memories
    }

    /// How questions are put to the model.
    pub fn format(&self) -> PromptFormat {
        self.format
    }

    /// The same memories, asked in another format than they were trained in.
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
        let scope = if self.routes_by_prompt {
            prompt.scope.clone()
        } else {
            0..prompt.tokens.len()
        };
        let mut route = Route::MAIN;
        let mut choose = |site: &EditSite| {
            route = self.route(site, scope.clone());
            self.memories.overlay(&route)
        };
        let layer = self.memories.layer;
        let generation = self.model.generate(&prompt, layer, options, &mut choose)?;
        Ok(Answer { generation, route })
    }

    /// Shows the model a question and an answer and returns what it predicts at each of the answer's tokens.
    ///
    /// # Errors
    /// If a text is empty or both do not fit the model's context.
    pub fn teacher_forced(&self, question: &str, answer: &str) -> Result<TeacherForced> {
        let answered = self.model.answered(self.format, "", question, answer)?;
        let shown = answered.answer();
        let rows = [answered.tokens.clone().into()];
        let site = self.model.prefix(&rows, self.memories.layer, None)?;
        let scope = if self.routes_by_prompt {
            answered.prompt.scope.clone()
        } else {
            0..answered.tokens.len()
        };
        let route = self.route(&site, scope);
        let overlay = self.memories.overlay(&route);
        let output = self.model.site_output(&site, &overlay);
        let at: Vec<usize> = shown.clone().map(|token| token - 1).collect();
        let logits = self.model.suffix(&site, output, &at, None);
        let width = logits.dims()[1];
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        Ok(TeacherForced {
            answer: answered.tokens[shown].to_vec(),
            predicted: logits.chunks(width).map(argmax).collect(),
            route,
        })
    }

    fn route(&self, site: &EditSite, scope: std::ops::Range<usize>) -> Route {
        let routes = self
            .router
            .route(&self.model, site, &[scope], &self.memories);
        routes.first().copied().unwrap_or(Route::MAIN)
    }
}
