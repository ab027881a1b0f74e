//! What holds for every one of the editors, on a tiny random model.

use std::ops::ControlFlow;

use serde_json::json;
use wise_model::{DeviceName, GenerateOptions, PromptFormat};

use super::*;
use crate::testing::{tiny_chat_model, tiny_model};
use crate::{
    AppliedEdit, Batch, Edit, EditProgress, Error, Made, Route, Snapshot, StatePart, Watch,
};

const FAR: &str = "zzz zzz zzz";

/// Settings that teach a model of noise in a few steps. FT-L cannot learn that a target ends, and GRACE, which
/// changes one token of the prompt, cannot make noise attend to it.
fn config(rival: Rival) -> RivalConfig {
    let settings = match rival {
        Rival::FtM => json!({"layer": 1, "edit_lr": 0.05, "n_iter": 60}),
        Rival::FtL => {
            json!({"layer": 1, "edit_lr": 0.1, "target_eos": false, "norm_constraint": 1.0})
        }
        Rival::Grace => json!({"layer": 1, "target_eos": false, "eps_init": 0.01}),
        Rival::Lora => json!({"edit_lr": 0.02}),
    };
    rival.read(settings).unwrap()
}

fn editor(rival: Rival) -> Box<dyn Editor> {
    config(rival).open(tiny_chat_model(1)).unwrap()
}

fn unedited(editor: &dyn Editor) -> Snapshot {
    Snapshot::unedited(Arc::clone(editor.model()), editor.format())
}

fn apply(editor: &mut dyn Editor, edits: &[Edit]) -> Vec<AppliedEdit> {
    editor.apply(edits, &mut |_: EditProgress| {}).unwrap()
}

fn answers(snapshot: &Snapshot, edit: &Edit) -> bool {
    let shown = snapshot.teacher_forced(&edit.prompt, &edit.target).unwrap();
    shown.predicted == shown.answer
}

/// With targets of one token.
fn stream() -> Vec<Edit> {
    vec![
        Edit::new("Where is A?", "B"),
        Edit::new("Who is C?", "D"),
        Edit::new("Where is A?", "E"),
        Edit::new("What is F?", "G"),
    ]
}

#[test]
fn names_and_settings_round_trip() {
    for rival in Rival::ALL {
        assert_eq!(rival.to_string().parse(), Ok(rival));
        assert_eq!(serde_json::to_value(rival).unwrap(), rival.name());
        let written = serde_json::to_value(rival.config()).unwrap();
        assert_eq!(rival.read(written).unwrap(), rival.config());
        assert_eq!(rival.config().rival(), rival);
        let error = rival.read(json!({"mask_ratio": 0.2})).unwrap_err();
        assert!(error.to_string().contains("unknown field"), "{error}");
    }
    assert!("wise".parse::<Rival>().is_err());
}

#[test]
fn hyperparameters_are_those_resolved_for_the_model() {
    let layers = [3, 3, 3, 0];
    for (rival, layer) in Rival::ALL.into_iter().zip(layers) {
        let mut config = rival.config();
        *config.shared().seed = 7;
        let editor = config.open(tiny_model(1)).unwrap();
        let hyperparameters = editor.hyperparameters().unwrap();
        assert_eq!(hyperparameters["layer"], layer, "{rival}");
        assert_eq!(hyperparameters["prompt_format"], "raw");
        assert_eq!((editor.seed(), editor.format()), (7, PromptFormat::Raw));
        let chat = rival.config().open(tiny_chat_model(1)).unwrap();
        assert_eq!(chat.format(), PromptFormat::Chat);
        assert_eq!(editor.name(), rival.name());
        assert_eq!(hyperparameters["n_iter"], editor.iterations());
    }
}

#[test]
fn the_default_layers_are_those_that_were_measured_in_the_reference() {
    let scaled_to = |layers| [21, 27].map(|layer| settings::scaled(layer, layers));
    assert_eq!(scaled_to(32), [21, 27]);
    assert_eq!(scaled_to(30), [20, 26]);
}

#[test]
fn settings_out_of_range_are_refused() {
    let refused = |rival: Rival, settings: serde_json::Value| {
        let config = rival.read(settings.clone()).unwrap();
        assert!(config.open(tiny_model(1)).is_err(), "{rival} {settings}");
    };
    for rival in Rival::ALL {
        refused(rival, json!({"edit_lr": 0.0}));
        refused(rival, json!({"n_iter": 0}));
        refused(rival, json!({"stop_loss": -1.0}));
        refused(rival, json!({"layer": 4}));
        refused(rival, json!({"prompt_format": "chat"}));
    }
    refused(Rival::FtL, json!({"norm_constraint": 0.0}));
    refused(Rival::Grace, json!({"eps_init": 0.0}));
    refused(Rival::Lora, json!({"rank": 0}));
    refused(Rival::Lora, json!({"alpha": -1.0}));
    refused(Rival::Lora, json!({"layer": 3}));
}

#[test]
fn an_edit_lowers_its_loss_and_is_answered() {
    for rival in Rival::ALL {
        let mut editor = editor(rival);
        let edit = Edit::new("Where is A?", "B");
        let mut losses = Vec::new();
        let applied = editor
            .apply(std::slice::from_ref(&edit), &mut |p: EditProgress| {
                losses.push(p.edit_loss);
            })
            .unwrap();
        let [applied] = &applied[..] else {
            panic!("{applied:?}");
        };
        assert_eq!((applied.id, applied.supersedes), (1, None));
        assert_eq!(applied.iterations, losses.len(), "{rival}");
        assert!(applied.edit_loss < 0.5 * losses[0], "{rival} {losses:?}");
        let snapshot = editor.snapshot().unwrap();
        assert!(answers(&snapshot, &edit), "{rival} {applied:?}");
        assert_eq!(snapshot.learnt().memory_of(1), Some(0));
        assert_eq!(snapshot.learnt().memory_of(2), None);
        let teaches_to_stop = matches!(rival, Rival::FtM | Rival::Lora);
        let options = GenerateOptions {
            max_new_tokens: if teaches_to_stop { 8 } else { 1 },
            ..GenerateOptions::default()
        };
        let answer = snapshot.ask(&edit.prompt, &options).unwrap();
        assert_eq!(answer.generation.text, edit.target, "{rival}");
    }
}

#[test]
fn the_model_itself_stays_as_it_is() {
    for rival in Rival::ALL {
        let mut editor = editor(rival);
        let unedited = unedited(editor.as_ref());
        let shown = |snapshot: &Snapshot| snapshot.teacher_forced("Where is A?", "B").unwrap();
        let before = shown(&unedited);
        assert_eq!(shown(&editor.snapshot().unwrap()), before);
        apply(editor.as_mut(), &stream()[..1]);
        assert_eq!(shown(&unedited), before);
        let after = shown(&editor.snapshot().unwrap());
        assert!(after.nll[0] < before.nll[0], "{rival} {after:?}");
    }
}

#[test]
fn editors_without_a_router_answer_everything() {
    for rival in [Rival::FtM, Rival::FtL, Rival::Lora] {
        let mut editor = editor(rival);
        apply(editor.as_mut(), &stream()[..1]);
        let shown = editor.snapshot().unwrap().teacher_forced(FAR, "B").unwrap();
        assert_eq!(shown.route, Route::UNROUTED);
    }
}

#[test]
fn ft_l_never_leaves_its_ball() {
    let settings = json!({"layer": 1, "edit_lr": 0.05, "n_iter": 10, "norm_constraint": 0.01});
    let config = Rival::FtL.read(settings).unwrap();
    let mut editor = config.open(tiny_model(1)).unwrap();
    let main = editor.model().site_weight(1).unwrap();
    apply(editor.as_mut(), &stream());
    let part = editor.part_of(4).unwrap();
    let main: Vec<f32> = main.into_data().iter::<f32>().collect();
    let moved = part.tensors["matrix"].1.iter().zip(&main);
    let furthest = moved.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!((0.0099..=0.010_001).contains(&furthest), "{furthest}");
}

#[test]
fn ft_l_wants_every_target_token_to_be_the_first_and_ft_m_each_after_those_before_it() {
    let first_loss = |rival: Rival| {
        let mut config = config(rival);
        *config.shared().target_eos = false;
        let mut editor = config.open(tiny_chat_model(1)).unwrap();
        let nll = |target: &str| {
            let shown = unedited(editor.as_ref()).teacher_forced("Where is A?", target);
            shown.unwrap().nll
        };
        let nlls = (nll("B")[0], nll("E")[0], nll("BE")[1]);
        let mut first = None;
        let mut watch = |p: EditProgress| first = first.or(Some(p.edit_loss));
        editor
            .apply(&[Edit::new("Where is A?", "BE")], &mut watch)
            .unwrap();
        (nlls, first.unwrap())
    };
    let ((b, e, _), loss) = first_loss(Rival::FtL);
    assert!((loss - f32::midpoint(b, e)).abs() < 1e-4);
    let ((b, _, e_after_b), loss) = first_loss(Rival::FtM);
    assert!((loss - f32::midpoint(b, e_after_b)).abs() < 1e-4);
}

#[test]
fn far_from_every_key_grace_is_the_unedited_model() {
    let mut editor = editor(Rival::Grace);
    apply(editor.as_mut(), &stream()[..2]);
    let snapshot = editor.snapshot().unwrap();
    let unedited = unedited(editor.as_ref());
    let shown = snapshot.teacher_forced(FAR, "nothing").unwrap();
    let plain = unedited.teacher_forced(FAR, "nothing").unwrap();
    assert_eq!((shown.route.memory, &shown.nll), (None, &plain.nll));
    assert!(shown.route.activation < shown.route.threshold);
    let near = snapshot.teacher_forced("Who is C?", "D").unwrap();
    assert_eq!(near.route.memory, Some(1));
    assert!(near.route.activation >= near.route.threshold);
}

#[test]
fn grace_asked_alone_and_together_is_the_same() {
    let mut editor = editor(Rival::Grace);
    apply(editor.as_mut(), &stream()[..2]);
    let snapshot = editor.snapshot().unwrap();
    let options = GenerateOptions {
        max_new_tokens: 4,
        ..GenerateOptions::default()
    };
    let questions = ["Who is C?", FAR, "Where is A?"];
    let batch = Batch {
        questions: questions.to_vec(),
        options: options.clone(),
    };
    let together = snapshot.ask_batches(&[batch]).unwrap();
    let routes: Vec<_> = together.iter().map(|answer| answer.route.memory).collect();
    assert_eq!(routes, [Some(1), None, Some(0)]);
    for (question, answer) in questions.into_iter().zip(together) {
        assert_eq!(snapshot.ask(question, &options).unwrap(), answer);
    }
}

#[test]
fn a_warm_value_begins_as_the_models_own_output() {
    let losses = |value_init: &str| {
        let settings = json!({"layer": 1, "value_init": value_init, "n_iter": 1});
        let mut editor = Rival::Grace
            .read(settings)
            .unwrap()
            .open(tiny_model(1))
            .unwrap();
        let mut first = None;
        let mut watch = |p: EditProgress| first = first.or(Some(p.edit_loss));
        editor.apply(&stream()[..1], &mut watch).unwrap();
        first.unwrap()
    };
    let settings = json!({"layer": 1});
    let editor = Rival::Grace
        .read(settings)
        .unwrap()
        .open(tiny_model(1))
        .unwrap();
    let prompt = editor
        .model()
        .prompt(PromptFormat::Raw, "", "Where is A?")
        .unwrap();
    let answered = editor
        .model()
        .answered(PromptFormat::Raw, "", "Where is A?", "B")
        .unwrap();
    let tokens = [answered.tokens, vec![0]].concat();
    let nll = editor
        .snapshot()
        .unwrap()
        .shown(&prompt, &tokens)
        .unwrap()
        .nll;
    let mean = nll.iter().sum::<f32>() / nll.len() as f32;
    assert!((losses("warm") - mean).abs() < 1e-4);
    assert!((losses("cold") - mean).abs() > 1e-2);
}

#[test]
fn the_last_of_three_answers_to_a_prompt_holds() {
    let edits = ["B", "C", "D"].map(|target| Edit::new("Where is A?", target));
    for rival in Rival::ALL {
        let mut editor = editor(rival);
        let applied = apply(editor.as_mut(), &edits);
        let superseded: Vec<_> = applied.iter().map(|applied| applied.supersedes).collect();
        assert_eq!(superseded, [None, Some(1), Some(2)]);
        let snapshot = editor.snapshot().unwrap();
        assert!(answers(&snapshot, &edits[2]), "{rival} {applied:?}");
        assert_eq!(snapshot.learnt().memory_of(3), Some(0));
    }
}

/// Keeps what a run has to, and stops it after some edits.
#[derive(Default)]
struct Interrupted {
    after: usize,
    parts: Vec<StatePart>,
    indices: Vec<usize>,
}

impl Watch for Interrupted {
    fn made(&mut self, made: Made<'_>) -> ControlFlow<()> {
        assert_eq!(made.editor.history().last(), Some(&made.applied));
        self.parts = vec![made.editor.part_of(made.applied.id).unwrap()];
        self.indices.push(made.index);
        if self.indices.len() == self.after {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn a_resumed_run_ends_as_if_it_had_not_been_interrupted() {
    for rival in Rival::ALL {
        let mut whole = editor(rival);
        apply(whole.as_mut(), &stream());
        let mut first = Interrupted {
            after: 2,
            ..Interrupted::default()
        };
        let made = editor(rival).apply(&stream(), &mut first).unwrap();
        assert_eq!(made.len(), 2);
        let mut second = Interrupted::default();
        let mut resumed = editor(rival);
        resumed.resume(&stream(), first.parts, &mut second).unwrap();
        assert_eq!(second.indices, [2, 3]);
        assert_eq!(resumed.history(), whole.history());
        assert_eq!(
            resumed.part_of(4).unwrap(),
            whole.part_of(4).unwrap(),
            "{rival}"
        );
    }
}

#[test]
fn a_state_of_another_run_is_refused() {
    for rival in Rival::ALL {
        let mut other = editor(rival);
        apply(other.as_mut(), &stream()[1..2]);
        let part = other.part_of(1).unwrap();
        let resume = |part: StatePart| {
            let mut fresh = editor(rival);
            let result = fresh.resume(&stream(), vec![part], &mut |_: EditProgress| {});
            assert!(fresh.history().is_empty());
            result.unwrap_err().to_string()
        };
        assert!(resume(part.clone()).contains("edit 1 is another one"));
        let renamed = StatePart {
            name: "wise".to_owned(),
            ..part.clone()
        };
        assert!(resume(renamed).contains("this is"));
        let mut own = editor(rival);
        apply(own.as_mut(), &stream()[..1]);
        let empty = StatePart {
            tensors: std::collections::BTreeMap::new(),
            ..own.part_of(1).unwrap()
        };
        assert!(resume(empty).contains("has no tensor"));
        assert!(matches!(own.part_of(2), Err(Error::NoSuchEdit { id: 2 })));
    }
}

#[test]
fn an_edit_that_cannot_be_made_leaves_those_before_it() {
    for rival in Rival::ALL {
        let mut editor = editor(rival);
        let good = Edit::new("Where is A?", "B");
        let apply = |editor: &mut dyn Editor, edit: Edit| {
            editor.apply(&[good.clone(), edit], &mut |_: EditProgress| {})
        };
        let error = apply(editor.as_mut(), Edit::new(" ", "B")).unwrap_err();
        let expected = "edit 2: the prompt is empty, expected a text";
        assert_eq!(error.to_string(), expected);
        let error = apply(editor.as_mut(), Edit::new("A", "")).unwrap_err();
        assert!(
            error.to_string().starts_with("edit 3: the target"),
            "{error}"
        );
        let error = apply(editor.as_mut(), Edit::new("x".repeat(130), "B")).unwrap_err();
        assert!(
            matches!(error, Error::EditTooLong { index: 4, .. }),
            "{error}"
        );
        assert_eq!(editor.history().len(), 3);
        assert!(answers(&editor.snapshot().unwrap(), &good), "{rival}");
    }
}

#[test]
fn a_diverged_edit_leaves_the_state_as_it_was() {
    for rival in Rival::ALL {
        let mut config = config(rival);
        *config.shared().edit_lr = 1e300;
        if let RivalConfig::FtL(config) = &mut config {
            config.norm_constraint = None;
        }
        let mut editor = config.open(tiny_model(1)).unwrap();
        let result = editor.apply(&stream()[..1], &mut |_: EditProgress| {});
        assert!(
            matches!(result, Err(Error::Diverged { index: 1, .. })),
            "{rival} {result:?}"
        );
        assert!(editor.history().is_empty());
        let snapshot = editor.snapshot().unwrap();
        assert_eq!(
            snapshot.teacher_forced(FAR, "B").unwrap().route,
            Route::MAIN
        );
    }
}

#[test]
fn the_seed_decides_what_is_random() {
    for rival in [Rival::Grace, Rival::Lora] {
        let part = |seed: u64| {
            let mut config = config(rival);
            *config.shared().seed = seed;
            *config.shared().n_iter = 2;
            let mut editor = config.open(tiny_model(1)).unwrap();
            apply(editor.as_mut(), &stream()[..1]);
            editor.part_of(1).unwrap().tensors
        };
        assert_eq!(part(1), part(1));
        assert_ne!(part(1), part(2));
    }
}

#[test]
fn a_fresh_low_rank_addition_changes_nothing() {
    let model = tiny_model(1);
    let mut config = LoraConfig::default();
    let training = settings::Training::resolve(&mut config, &model).unwrap();
    let lora = <Lora as sequential::Method>::new(&model, config, training).unwrap();
    let recall = <Lora as sequential::Method>::recall(&lora, 1);
    let shown = |snapshot: Snapshot| snapshot.teacher_forced("Where is A?", "B").unwrap().nll;
    let adapted = shown(Snapshot::new(Arc::clone(&model), recall, PromptFormat::Raw));
    assert_eq!(adapted, shown(Snapshot::unedited(model, PromptFormat::Raw)));
}

fn smollm2() -> Arc<Model> {
    let device = DeviceName::Cpu.open().unwrap();
    Arc::new(Model::open("smollm2", &device, &mut |_| {}).expect("the smollm2 model loads"))
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn a_fact_is_generated_right_by_the_real_model() {
    let model = smollm2();
    let edit = Edit::new(
        "What university did Watts Humphrey take part in?",
        "University of Michigan",
    );
    for rival in [Rival::FtM, Rival::Grace] {
        let mut config = rival.config();
        *config.shared().prompt_format = Some(PromptFormat::Raw);
        let mut editor = config.open(Arc::clone(&model)).unwrap();
        apply(editor.as_mut(), std::slice::from_ref(&edit));
        let snapshot = editor.snapshot().unwrap();
        let answer = snapshot
            .ask(&edit.prompt, &GenerateOptions::default())
            .unwrap();
        assert_eq!(answer.generation.text.trim(), edit.target, "{rival}");
    }
}
