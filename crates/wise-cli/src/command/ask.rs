//! `wise ask`: generates an answer, with or without a patch.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use wise_edit::{Answer, Considered, Route, Snapshot};
use wise_model::{Finish, GenerateOptions, Message, PromptFormat};
use wise_patch::Patch;

use crate::args::AskArgs;
use crate::command;
use crate::error::{Error, Result};
use crate::output::{self, Output};

/// Side memories that a trace shows to a person.
const TRACED: usize = 5;

#[derive(Debug, Serialize)]
struct Reply {
    question: String,
    answer: String,
    finish: Finish,
    tokens: usize,
    seconds: f64,
    prompt_format: PromptFormat,
    route: Trace,
}

#[derive(Debug, Serialize)]
struct Trace {
    /// `main`, or `side` with its index.
    memory: String,
    activation: Option<f32>,
    threshold: Option<f32>,
    /// What was found at each side memory, the one that answered first, then the nearest; only with `--trace`.
    #[serde(skip_serializing_if = "Option::is_none")]
    considered: Option<Vec<Found>>,
}

/// What was found at a side memory.
#[derive(Debug, Serialize)]
struct Found {
    memory: usize,
    activation: f32,
    threshold: Option<f32>,
    relation: Option<f32>,
    relation_threshold: Option<f32>,
    /// Id of the edit that is nearest, and its prompt.
    edit: Option<usize>,
    edit_prompt: Option<String>,
}

impl Found {
    fn new(considered: &Considered, prompts: &HashMap<usize, String>) -> Self {
        let threshold = considered.threshold;
        Self {
            memory: considered.memory,
            activation: considered.activation,
            threshold: threshold.is_finite().then_some(threshold),
            relation: considered.relation.map(|(fit, _)| fit),
            relation_threshold: considered.relation.map(|(_, threshold)| threshold),
            edit: considered.edit,
            edit_prompt: considered.edit.and_then(|id| prompts.get(&id).cloned()),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let over = |value: f32, threshold: Option<f32>| match threshold {
            Some(threshold) if value > threshold => format!("{value:.2} over {threshold:.2}"),
            Some(threshold) => format!("{value:.2} not over {threshold:.2}"),
            None => format!("{value:.2}"),
        };
        let activation = over(self.activation, self.threshold);
        match self.relation {
            Some(relation) => write!(
                f,
                "side {}: subject fits {activation}, relation {}",
                self.memory,
                over(relation, self.relation_threshold)
            )?,
            None => write!(f, "side {}: activation {activation}", self.memory)?,
        }
        if let (Some(id), Some(prompt)) = (self.edit, &self.edit_prompt) {
            write!(f, "; nearest is edit {id}: {prompt}")?;
        }
        Ok(())
    }
}

impl From<Route> for Trace {
    fn from(route: Route) -> Self {
        let known = route.threshold.is_finite();
        Self {
            memory: match route.memory {
                Some(index) => format!("side {index}"),
                None => "main".to_owned(),
            },
            activation: known.then_some(route.activation),
            threshold: known.then_some(route.threshold),
            considered: None,
        }
    }
}

/// Runs the command.
pub fn run(args: &AskArgs, output: Output) -> Result<()> {
    let patch = args.patch.as_deref().map(command::load).transpose()?;
    let prompts = patch.as_ref().map(edit_prompts).unwrap_or_default();
    let model = command::open_model(&args.model)?;
    let snapshot = if let Some(patch) = patch {
        patch.snapshot(model)?
    } else {
        let format = model.default_format();
        Snapshot::unedited(model, format)
    };
    let snapshot = match args.prompt_format {
        Some(asked) => {
            let edited = snapshot.format();
            if args.patch.is_some() && asked != edited {
                output::note(&format!(
                    "warning: the patch was made with --prompt-format {edited}, asked with {asked}: \
                     its edits may not hold"
                ));
            }
            snapshot.with_format(asked)
        }
        None => snapshot,
    };
    let earlier = match &args.earlier {
        Some(_) if snapshot.format() == PromptFormat::Raw => return Err(Error::EarlierInRaw),
        Some(path) => conversation(path)?,
        None => Vec::new(),
    };
    let options = GenerateOptions {
        max_new_tokens: args.max_new_tokens,
        temperature: args.temperature,
        top_p: args.top_p,
        seed: args.seed,
    };
    for question in &args.question {
        let (mut reply, route) = reply(&snapshot, &earlier, question, &options)?;
        if args.trace {
            let mut found = snapshot.considered(&earlier, question)?;
            found.sort_by(|a, b| b.activation.total_cmp(&a.activation));
            found.sort_by_key(|found| Some(found.memory) != route.memory);
            let found = found.iter().map(|found| Found::new(found, &prompts));
            reply.route.considered = Some(found.collect());
        }
        output.line(&reply, &reply.answer)?;
        if args.trace && !output.json {
            explain(route, &reply.route);
        }
    }
    Ok(())
}

fn conversation(path: &Path) -> Result<Vec<Message>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::read(path, e))?;
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let message = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| Error::Conversation {
            path: path.to_owned(),
            detail: format!("line {number}: {e}"),
        })
    };
    lines.map(message).collect()
}

fn reply(
    snapshot: &Snapshot,
    earlier: &[Message],
    question: &str,
    options: &GenerateOptions,
) -> Result<(Reply, Route)> {
    let begun = Instant::now();
    let Answer { generation, route } = snapshot.ask_in_chat(earlier, question, options)?;
    let reply = Reply {
        question: question.to_owned(),
        answer: generation.text.trim().to_owned(),
        finish: generation.finish,
        tokens: generation.tokens.len(),
        seconds: begun.elapsed().as_secs_f64(),
        prompt_format: snapshot.format(),
        route: route.into(),
    };
    Ok((reply, route))
}

fn edit_prompts(patch: &Patch) -> HashMap<usize, String> {
    let edits = patch.manifest.shards.iter().flat_map(|shard| &shard.edits);
    edits.map(|e| (e.id, e.edit.prompt.clone())).collect()
}

fn explain(route: Route, trace: &Trace) {
    let considered = trace.considered.as_deref().unwrap_or_default();
    let why = if considered.is_empty() {
        ": no side memory to choose"
    } else {
        ""
    };
    let memory = match route.memory {
        Some(index) => format!("side memory {index}"),
        None => "the main memory".to_owned(),
    };
    output::note(&format!("answered by {memory}{why}"));
    for found in considered.iter().take(TRACED) {
        output::note(&format!("  {found}"));
    }
    if considered.len() > TRACED {
        let left = considered.len() - TRACED;
        output::note(&format!("  and {left} further ones; --json lists all"));
    }
}
