//! A golden edit, the router and merged memories.

use std::sync::Arc;

use serde_json::Value;
use wise_edit::{
    Compatibility, Edit, EditProgress, Editor, ShardState, Snapshot, Wise, WiseConfig,
    neutral_prompts,
};
use wise_model::{GenerateOptions, Model, PromptFormat};

use crate::outcome::{Outcome, differing, relative};
use crate::{Extent, Pair, Result, Tolerance, within};

/// Of each of the golden edit's first losses, relative.
const FIRST_LOSSES: Tolerance = [1e-3, 1e-1, 1e-2];

/// How many those are.
const FIRST: usize = 3;

/// Of each loss of the golden edit, relative. Its steps are so large that roundings of a narrow format grow threefold
/// with each, on whatever device; there it only says that the edit does not run away.
const LOSSES: Tolerance = [1e-2, 5e-1, 5e-1];

/// Of the prompts.
const ROUTES: Tolerance = [0.0, 1e-2, 5e-3];

/// Of the surprise of tokens, as a share of the largest.
const SURPRISE: Tolerance = [1e-3, 1e-1, 2e-2];

fn facts() -> [Edit; 2] {
    [
        Edit::new(
            "What university did Watts Humphrey attend?",
            "University of Michigan",
        ),
        Edit::new("The twin city of Cologne is", "Lisbon"),
    ]
}

/// The settings of the golden edit that the tests of `wise-edit` hold the CPU to.
fn golden(iterations: usize) -> WiseConfig {
    WiseConfig {
        prompt_format: Some(PromptFormat::Raw),
        layer: Some(26),
        edit_lr: 0.9,
        n_iter: iterations,
        act_margin: [2.0, 20.0, 10.0],
        act_ratio: 0.5,
        ..WiseConfig::of(Compatibility::EasyEdit)
    }
}

/// The losses of each iteration of the golden edit.
fn trajectory(model: &Arc<Model>, iterations: usize) -> Result<Vec<f32>> {
    let golden_edit: Value = serde_json::from_str(include_str!(
        "../../crates/wise-edit/tests/golden/smollm2_wise_edit.json"
    ))?;
    let text = |field: &str| golden_edit["edit"][field].as_str().unwrap_or_default();
    let edit = Edit::new(text("prompt"), text("target_new"));
    let negative = text("loc_prompt").to_owned();
    let mut editor = Wise::new(Arc::clone(model), golden(iterations), vec![negative])?;
    let mut losses = Vec::new();
    editor.apply(&[edit], &mut |progress: EditProgress| {
        losses.push(progress.edit_loss + progress.router_loss);
    })?;
    Ok(losses)
}

/// Our defaults, with a memory for each edit.
fn apart() -> WiseConfig {
    WiseConfig {
        prompt_format: Some(PromptFormat::Raw),
        save_freq: 1,
        ..WiseConfig::default()
    }
}

/// The first losses of two facts that are learnt at once, each in a memory of its own: those of the first fact, then
/// those of the other. A device other than the CPU trains them in lockstep.
fn first_losses_at_once(model: &Arc<Model>, iterations: usize) -> Result<Vec<f32>> {
    let config = WiseConfig {
        n_iter: iterations,
        ..apart()
    };
    let mut editor = Wise::new(Arc::clone(model), config, neutral_prompts())?;
    let mut losses = Vec::new();
    editor.apply(&facts(), &mut |progress: EditProgress| {
        losses.push((progress.edit, progress.iteration, progress.edit_loss));
    })?;
    losses.sort_by_key(|&(edit, iteration, _)| (edit, iteration));
    Ok(losses.into_iter().map(|(_, _, loss)| loss).collect())
}

/// Two facts learnt on the CPU.
fn learnt(model: &Arc<Model>) -> Result<(Wise, Vec<(usize, ShardState)>)> {
    let mut editor = Wise::new(Arc::clone(model), apart(), neutral_prompts())?;
    editor.apply(&facts(), &mut |_: EditProgress| {})?;
    let states = editor
        .shards()
        .iter()
        .enumerate()
        .map(|(index, shard)| -> Result<_> { Ok((index, shard.state(model, editor.config())?)) })
        .collect::<Result<_>>()?;
    Ok((editor, states))
}

/// Prompts of all kinds; the first ones are about what was edited.
fn prompts(count: usize) -> Vec<String> {
    let [humphrey, cologne] = facts().map(|edit| edit.prompt);
    let mut prompts = vec![
        humphrey,
        cologne,
        "What university did Watts Humphrey take part in?".to_owned(),
        "Which city is the twin city of Cologne?".to_owned(),
        "What university did Ada Lovelace attend?".to_owned(),
        "The twin city of Prague is".to_owned(),
        "Where was Watts Humphrey born?".to_owned(),
        "The mayor of Cologne is".to_owned(),
    ];
    let neutral = neutral_prompts();
    let turns = (0..).flat_map(|turn| {
        let lead = ["", "Question: ", "Tell me: "][turn % 3];
        neutral.iter().map(move |text| format!("{lead}{text}"))
    });
    prompts.extend(turns.take(count.saturating_sub(prompts.len())));
    prompts.truncate(count);
    prompts
}

/// The memory that each prompt is sent to.
fn routes(snapshot: &Snapshot, prompts: &[String]) -> Result<Vec<Option<usize>>> {
    let mut routes = Vec::new();
    for prompts in prompts.chunks(8) {
        let pairs: Vec<(&str, &str)> = prompts.iter().map(|p| (p.as_str(), "x")).collect();
        let shown = snapshot.teacher_forced_together(&pairs)?;
        routes.extend(shown.into_iter().map(|shown| shown.route.memory));
    }
    Ok(routes)
}

fn answers(snapshot: &Snapshot) -> Result<Vec<String>> {
    let options = GenerateOptions {
        max_new_tokens: 12,
        ..GenerateOptions::default()
    };
    let answer = |edit: &Edit| {
        let answer = snapshot.ask(&edit.prompt, &options)?;
        Ok(answer.generation.text.trim().to_owned())
    };
    facts().iter().map(answer).collect()
}

/// How surprising the facts' tokens are, in nats.
fn surprise(snapshot: &Snapshot) -> Result<Vec<f32>> {
    let mut surprise = Vec::new();
    for edit in facts() {
        let shown = snapshot.teacher_forced(&edit.prompt, &edit.target)?;
        surprise.extend(shown.nll);
    }
    Ok(surprise)
}

pub fn check(pair: &Pair, extent: Extent) -> Result<Vec<Outcome>> {
    let Pair {
        cpu,
        device,
        precision,
    } = pair;
    let tolerance = |of: Tolerance| within(of, *precision);
    let (got, expected) = (
        trajectory(device, extent.iterations)?,
        trajectory(cpu, extent.iterations)?,
    );
    let ratios: Vec<f32> = got.iter().zip(&expected).map(|(a, b)| a / b).collect();
    let losses = |check, first: usize, of| {
        let ratios = &ratios[..first.min(ratios.len())];
        relative(check, ratios, &vec![1.0; first], tolerance(of))
    };
    let first_losses = losses("each of an edit's first losses", FIRST, FIRST_LOSSES);
    let losses = losses("each loss of an edit", expected.len(), LOSSES);
    let at_once = relative(
        "first losses of two shards at once",
        &first_losses_at_once(device, extent.iterations_at_once)?,
        &first_losses_at_once(cpu, extent.iterations_at_once)?,
        tolerance(FIRST_LOSSES),
    );
    let (editor, states) = learnt(cpu)?;
    let recall = |model, retrieve| {
        let config = WiseConfig {
            retrieve,
            ..editor.config().clone()
        };
        Wise::recall(
            model,
            &config,
            editor.reader(),
            &states,
            &[],
            editor.dealt(),
        )
    };
    let (here, there) = (recall(cpu, true)?, recall(device, true)?);
    let prompts = prompts(extent.prompts);
    let routed: Vec<_> = routes(&there, &prompts)?
        .into_iter()
        .zip(routes(&here, &prompts)?)
        .collect();
    let targets = facts().map(|edit| edit.target);
    let answered: Vec<_> = answers(&there)?.into_iter().zip(targets).collect();
    let (got, expected) = (
        surprise(&recall(device, false)?)?,
        surprise(&recall(cpu, false)?)?,
    );
    Ok(vec![
        first_losses,
        losses,
        at_once,
        differing(
            "which memory answers",
            "of the prompts differ",
            &routed,
            (tolerance(ROUTES) * routed.len() as f64).round(),
        ),
        differing("edited answers", "of 2 are not the target", &answered, 0.0),
        relative(
            "a merged memory's surprise",
            &got,
            &expected,
            tolerance(SURPRISE),
        ),
    ])
}
