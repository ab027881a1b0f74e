//! `wise ask`: generates an answer, with or without a patch.

use std::time::Instant;

use serde::Serialize;
use wise_edit::{Answer, Route, Snapshot};
use wise_model::{Finish, GenerateOptions, PromptFormat};
use wise_patch::Patch;

use crate::args::AskArgs;
use crate::command;
use crate::error::Result;
use crate::output::{self, Output};

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
        }
    }
}

/// Runs the command.
pub fn run(args: &AskArgs, output: Output) -> Result<()> {
    let patch = args.patch.as_deref().map(Patch::load).transpose()?;
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
    let options = GenerateOptions {
        max_new_tokens: args.max_new_tokens,
        temperature: args.temperature,
        top_p: args.top_p,
        seed: args.seed,
    };
    for question in &args.question {
        let reply = reply(&snapshot, question, &options)?;
        output.line(&reply, &reply.answer);
        if args.trace && !output.json {
            output::note(&describe(&reply.route));
        }
    }
    Ok(())
}

fn reply(snapshot: &Snapshot, question: &str, options: &GenerateOptions) -> Result<Reply> {
    let begun = Instant::now();
    let Answer { generation, route } = snapshot.ask(question, options)?;
    Ok(Reply {
        question: question.to_owned(),
        answer: generation.text.trim().to_owned(),
        finish: generation.finish,
        tokens: generation.tokens.len(),
        seconds: begun.elapsed().as_secs_f64(),
        prompt_format: snapshot.format(),
        route: route.into(),
    })
}

fn describe(trace: &Trace) -> String {
    match (trace.activation, trace.threshold) {
        (Some(activation), Some(threshold)) => format!(
            "answered by {} memory: activation {activation:.2}, threshold {threshold:.2}",
            trace.memory
        ),
        _ => format!(
            "answered by {} memory: no side memory to choose",
            trace.memory
        ),
    }
}
