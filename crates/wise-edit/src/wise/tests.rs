//! Sharding, merging, correcting again and resuming, on a tiny model.

use std::ops::ControlFlow;
use std::sync::Arc;

use wise_memory::Recall;
use wise_merge::Overlap;
use wise_model::GenerateOptions;

use super::*;
use crate::testing::tiny_model;
use crate::{Batch, EditProgress, Made};

fn config() -> WiseConfig {
    WiseConfig {
        prompt_format: Some(PromptFormat::Raw),
        n_iter: 3,
        context_templates: 1,
        save_freq: 2,
        ..WiseConfig::default()
    }
}

fn editor(config: WiseConfig) -> Wise {
    let negatives = ["Who sings?", "What is up?", "Why?"].map(str::to_owned);
    Wise::new(tiny_model(1), config, negatives.to_vec()).unwrap()
}

fn edits(count: usize) -> Vec<Edit> {
    let edit = |i| Edit::new(format!("Where is town {i}?"), format!("land {i}"));
    (0..count).map(edit).collect()
}

fn ignore(_: EditProgress) {}

fn with_threads<T: Send>(threads: usize, run: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build().unwrap().install(run)
}

fn states(editor: &Wise) -> Vec<ShardState> {
    let (model, config) = (editor.model(), editor.config());
    let states = editor
        .shards()
        .iter()
        .map(|s| s.state(model, config).unwrap());
    states.collect()
}

fn memories(editor: &Wise) -> wise_memory::Memories {
    let (model, config) = (editor.model(), editor.config());
    let held = editor.held(0..editor.shards().len());
    memories::memories(model, config, editor.reader(), &held).unwrap()
}

#[test]
fn shards_trained_side_by_side_are_those_trained_one_after_another() {
    for config in [
        config(),
        WiseConfig {
            rehearsed_edits: 0,
            hold_routes: false,
            ..config()
        },
    ] {
        let in_sequence = with_threads(1, || {
            let mut editor = editor(config.clone());
            for edit in edits(7) {
                editor.apply(&[edit], &mut ignore).unwrap();
            }
            states(&editor)
        });
        for threads in [1, 2, 4] {
            let side_by_side = with_threads(threads, || {
                let mut editor = editor(config.clone());
                editor.apply(&edits(7), &mut ignore).unwrap();
                states(&editor)
            });
            assert_eq!(side_by_side.len(), 4);
            assert_eq!(side_by_side, in_sequence, "{threads} threads");
        }
    }
}

#[test]
fn a_shard_changes_only_its_own_subspace() {
    let mut editor = editor(config());
    editor.apply(&edits(4), &mut ignore).unwrap();
    let [hidden, ffn] = editor.shards()[0].matrix.dims();
    let states = states(&editor);
    assert_ne!(states[0].mask, states[1].mask);
    for state in states {
        assert_eq!(
            state.values.len(),
            state.mask.draw(hidden * ffn).unwrap().count()
        );
    }
}

#[track_caller]
fn check_memories(config: WiseConfig, after_each: [usize; 5]) {
    let mut editor = editor(config);
    for (edit, expected) in edits(5).into_iter().zip(after_each) {
        editor.apply(&[edit], &mut ignore).unwrap();
        let memories = memories(&editor);
        let real = memories.side.iter().filter(|m| !m.edits.is_empty());
        assert_eq!(real.count(), expected);
        let held: usize = memories.side.iter().map(|m| m.edits.len()).sum();
        assert_eq!(held, editor.history().len());
    }
}

#[test]
fn shards_become_memories() {
    check_memories(config(), [1, 1, 2, 2, 3]);
    let retrieve = WiseConfig {
        merge_freq: Some(4),
        ..config()
    };
    check_memories(retrieve, [1, 1, 2, 1, 2]);
    let merge = WiseConfig {
        retrieve: false,
        ..config()
    };
    check_memories(merge, [1, 1, 1, 1, 1]);
}

#[test]
fn shards_stay_merged_when_edits_are_taken_back() {
    let mut editor = editor(WiseConfig {
        merge_freq: Some(4),
        ..config()
    });
    editor.apply(&edits(8), &mut ignore).unwrap();
    let held = |editor: &Wise| -> Vec<usize> {
        memories(editor)
            .side
            .iter()
            .map(|m| m.edits.len())
            .collect()
    };
    assert_eq!(held(&editor), [4, 4]);
    editor.undo(&[1], &mut ignore).unwrap();
    assert_eq!(held(&editor), [3, 4]);
    // The first shard is gone, and the others do not move up.
    editor.undo(&[2], &mut ignore).unwrap();
    assert_eq!(held(&editor), [2, 4]);
}

#[test]
fn edits_take_the_places_of_those_that_were_taken_back() {
    let mut editor = editor(config());
    editor.apply(&edits(4), &mut ignore).unwrap();
    editor.undo(&[2, 3], &mut ignore).unwrap();
    let before = states(&editor);
    editor.apply(&edits(7)[4..], &mut ignore).unwrap();
    let held = |editor: &Wise| -> Vec<Vec<usize>> {
        let ids = |shard: &Shard| shard.edits.iter().map(|applied| applied.id).collect();
        editor.shards().iter().map(ids).collect()
    };
    assert_eq!(held(&editor), [vec![1, 5], vec![4, 6], vec![7]]);
    editor.undo(&[5, 6], &mut ignore).unwrap();
    assert!(states(&editor)[..2] == before[..]);
}

#[test]
fn an_edit_that_failed_was_never_asked_for() {
    let mut editor = editor(config());
    let edit = |target: &str| Edit::new("Where is town 0?", target);
    editor.apply(&[edit("land 0")], &mut ignore).unwrap();
    let too_long = "land ".repeat(1000);
    assert!(editor.apply(&[edit(&too_long)], &mut ignore).is_err());
    assert!(editor.planned().is_empty());
    let made = editor.apply(&[edit("sea 0")], &mut ignore).unwrap();
    assert_eq!(made[0].supersedes, Some(1));
    let unusable = Edit::new("Where is town 1?", too_long);
    assert!(editor.apply(&[unusable], &mut ignore).is_err());
    editor.apply(&edits(3)[1..], &mut ignore).unwrap();
    let held = editor.shards().iter().map(|shard| shard.edits.len());
    assert_eq!(held.collect::<Vec<_>>(), [3, 1]);
}

#[test]
fn edits_that_failed_leave_no_shard_closed() {
    let mut editor = editor(WiseConfig {
        merge_freq: Some(4),
        ..config()
    });
    let mut failing = edits(4);
    failing[0].target = "land ".repeat(1000);
    with_threads(1, || editor.apply(&failing, &mut ignore).unwrap_err());
    editor.apply(&edits(3), &mut ignore).unwrap();
    let held = memories(&editor).side;
    assert_eq!(
        held.iter().map(|m| m.edits.len()).collect::<Vec<_>>(),
        [2, 1]
    );
}

#[test]
fn what_is_only_planned_can_be_dropped_where_shards_are_replayed() {
    let mut editor = editor(WiseConfig {
        route_by: RouteBy::Activation,
        replay: true,
        ..config()
    });
    editor.apply(&edits(1), &mut ignore).unwrap();
    editor.plan(&edits(3)[1..]).unwrap();
    let refused = editor.undo(&[1, 2], &mut ignore).unwrap_err();
    assert!(matches!(refused, Error::UndoOfReplay), "{refused}");
    editor.undo(&[2], &mut ignore).unwrap();
    let planned = editor.planned();
    assert_eq!(planned.iter().map(|p| p.id).collect::<Vec<_>>(), [3]);
}

#[test]
fn a_watch_that_panics_ends_the_training() {
    let panicked = with_threads(2, || {
        std::panic::catch_unwind(|| {
            let mut editor = editor(config());
            editor.apply(&edits(20), &mut |_: EditProgress| panic!("seen enough"))
        })
    });
    assert!(panicked.is_err());
}

#[test]
fn what_edits_depend_on_besides_is_told_apart() {
    let negatives = |text: &str| vec![text.to_owned()];
    let editor = |text| Wise::new(tiny_model(1), config(), negatives(text)).unwrap();
    assert_eq!(editor("Why?").setup(), editor("Why?").setup());
    assert_ne!(editor("Why?").setup(), editor("How?").setup());
}

#[test]
fn a_merged_memory_keeps_the_smallest_activation_and_disjoint_shards_whole() {
    let mut editor = editor(WiseConfig {
        merge_freq: Some(4),
        mask_overlap: Overlap::Disjoint,
        density: 1.0,
        ..config()
    });
    editor.apply(&edits(4), &mut ignore).unwrap();
    let smallest = editor
        .history()
        .iter()
        .map(|e| e.activation)
        .reduce(f32::min);
    let memories = memories(&editor);
    assert_eq!(Some(memories.side[0].min_activation()), smallest);
    let main = editor
        .model
        .site_weight(editor.config().layer.unwrap())
        .unwrap();
    let delta = |matrix: burn::tensor::Tensor<2>| matrix - main.clone();
    let deltas = editor
        .shards()
        .iter()
        .map(|shard| delta(shard.matrix.clone()));
    let sum = deltas.reduce(|a, b| a + b).unwrap();
    let apart: f32 = (delta(memories.side[0].matrix.clone()) - sum)
        .abs()
        .max()
        .into_scalar();
    assert!(apart < 1e-6, "{apart}");
}

#[test]
fn a_fact_corrected_twice_has_its_last_answer_in_the_shard_that_held_the_first() {
    let config = WiseConfig {
        prompt_format: None,
        n_iter: 60,
        target_eos: false,
        // What noise can learn: anywhere, and without far margins.
        mask_ratio: 1.0,
        norm_constraint: None,
        act_margin: [0.0, 0.1, 0.1],
        ..config()
    };
    let model = crate::testing::tiny_chat_model(1);
    let mut editor = Wise::new(model, config, vec!["Why?".to_owned()]).unwrap();
    let stream: Vec<Edit> = [
        ("one", "A"),
        ("two", "D"),
        ("three", "E"),
        ("one ", "B"),
        ("one", "C"),
    ]
    .map(|(prompt, target)| Edit::new(prompt, target))
    .to_vec();
    let applied = editor.apply(&stream, &mut ignore).unwrap();
    let supersedes: Vec<_> = applied.iter().map(|e| e.supersedes).collect();
    assert_eq!(supersedes, [None, None, None, Some(1), Some(4)]);
    let snapshot = editor.snapshot().unwrap();
    let learnt = snapshot.learnt();
    let held: Vec<_> = (1..=5).map(|id| learnt.memory_of(id)).collect();
    assert_eq!(held, [None, Some(0), Some(1), None, Some(0)]);
    let shown = snapshot.teacher_forced("one", "C").unwrap();
    assert_eq!(shown.predicted, shown.answer);
    assert_eq!(shown.route.memory, Some(0));
}

/// Keeps the parts of a run and ends it after some edits.
struct Interrupted {
    parts: std::collections::BTreeMap<String, StatePart>,
    left: usize,
}

impl Watch for Interrupted {
    fn made(&mut self, made: Made<'_>) -> ControlFlow<()> {
        let part = made.editor.part_of(made.applied.id).unwrap();
        self.parts.insert(part.name.clone(), part);
        // An edit that was in training beside the last one is made too.
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn an_interrupted_stream_goes_on_to_the_same_end() {
    for threshold in [wise_memory::Threshold::Memory, wise_memory::Threshold::Edit] {
        let config = WiseConfig {
            threshold,
            ..config()
        };
        let stream = edits(6);
        let mut whole = editor(config.clone());
        whole.apply(&stream, &mut ignore).unwrap();
        for left in [1, 3] {
            let mut run = Interrupted {
                parts: std::collections::BTreeMap::new(),
                left,
            };
            with_threads(2, || {
                editor(config.clone()).apply(&stream, &mut run).unwrap();
            });
            let parts: Vec<StatePart> = run.parts.into_values().collect();
            let mut resumed = editor(config.clone());
            resumed.resume(&stream, parts.clone(), &mut ignore).unwrap();
            assert_eq!(states(&resumed), states(&whole));

            let mut other = edits(6);
            other[0].target = "elsewhere".to_owned();
            let refused = editor(config.clone()).resume(&other, parts, &mut ignore);
            assert!(
                matches!(refused, Err(Error::StatePart { .. })),
                "{refused:?}"
            );
        }
    }
}

#[test]
fn replay_changes_later_shards_only() {
    let shards = |replay| {
        let mut editor = editor(WiseConfig {
            replay,
            route_by: RouteBy::Activation,
            ..config()
        });
        editor.apply(&edits(4), &mut ignore).unwrap();
        states(&editor)
    };
    let (plain, replayed) = (shards(false), shards(true));
    assert_eq!(plain[0], replayed[0]);
    assert_ne!(plain[1].values, replayed[1].values);
}

#[test]
fn every_switch_trains_and_answers() {
    use wise_memory::{Distance, Pooling, RoutedBy, Threshold, Voters};
    let switched: [fn(&mut WiseConfig); 11] = [
        |c| c.route_by = RouteBy::Keys,
        |c| c.decay_outside_mask = true,
        |c| c.distance = Distance::Raw,
        |c| c.pooling = Pooling::Max,
        |c| c.voters = Voters::All,
        |c| c.routed_by = RoutedBy::Batch,
        |c| c.target_eos = false,
        |c| c.threshold = Threshold::Global,
        |c| c.threshold = Threshold::Edit,
        |c| c.optimizer = Optimizer::Sgd,
        |c| c.optimizer = Optimizer::Adam,
    ];
    for switch in switched {
        let mut config = WiseConfig {
            route_by: RouteBy::Activation,
            ..config()
        };
        switch(&mut config);
        let mut editor = editor(config);
        editor.apply(&edits(3), &mut ignore).unwrap();
        let options = GenerateOptions {
            max_new_tokens: 2,
            ..GenerateOptions::default()
        };
        let snapshot = editor.snapshot().unwrap();
        let questions = ["Where is town 0?", "Who is that?"];
        let batch = Batch {
            questions: questions.to_vec(),
            options: options.clone(),
        };
        let together = snapshot.ask_batches(&[batch]).unwrap();
        let routes: Vec<_> = together.iter().map(|answer| answer.route).collect();
        if editor.config().routed_by == RoutedBy::Batch {
            assert_eq!(routes[0], routes[1]);
        } else {
            for (question, together) in questions.into_iter().zip(together) {
                let alone = snapshot.ask(question, &options).unwrap();
                assert_eq!(together.generation, alone.generation);
                assert_eq!(together.route.memory, alone.route.memory);
            }
        }
    }
}

#[test]
fn questions_answered_side_by_side_are_answered_as_alone() {
    let mut editor = editor(WiseConfig {
        n_iter: 12,
        save_freq: 1,
        ..config()
    });
    editor.apply(&edits(3), &mut ignore).unwrap();
    let snapshot = editor.snapshot().unwrap();
    let questions = [
        ("Where is town 1?", 9),
        ("Why?", 20),
        ("Where is town 0?", 3),
        ("Where is town 2?", 12),
        // As long as the context, so that it ends before it has as many tokens as it may.
        (&"Who has ever been there? ".repeat(5)[..120], 20),
    ];
    let options = |max_new_tokens| GenerateOptions {
        max_new_tokens,
        ..GenerateOptions::default()
    };
    let batches = questions.map(|(question, most)| Batch {
        questions: vec![question],
        options: options(most),
    });
    let together = snapshot.ask_batches(&batches).unwrap();
    let mut memories: Vec<_> = together.iter().map(|a| a.route.memory).collect();
    for ((question, most), together) in questions.into_iter().zip(&together) {
        let alone = snapshot.ask(question, &options(most)).unwrap();
        assert_eq!(together.generation, alone.generation, "{question}");
        assert_eq!(together.route.memory, alone.route.memory, "{question}");
    }
    memories.sort_unstable();
    memories.dedup();
    assert!(memories.len() > 2, "{memories:?}");
    assert_eq!(together[4].generation.tokens.len(), 9);

    let pairs = questions.map(|(question, most)| (question, &"a long answer"[..most.min(13)]));
    let shown = snapshot.teacher_forced_together(&pairs[..4]).unwrap();
    for ((question, answer), together) in pairs.into_iter().zip(shown) {
        let alone = snapshot.teacher_forced(question, answer).unwrap();
        assert_eq!(together.predicted, alone.predicted, "{question}");
        for (together, alone) in together.nll.iter().zip(&alone.nll) {
            assert!(
                (together - alone).abs() < 1e-4,
                "{question}: {together}, {alone}"
            );
        }
    }
}

#[test]
fn the_originals_run_too() {
    for compat in [Compatibility::Paper, Compatibility::EasyEdit] {
        let mut editor = editor(WiseConfig {
            n_iter: 3,
            save_freq: 2,
            merge_freq: Some(4),
            ..WiseConfig::of(compat)
        });
        editor.apply(&edits(5), &mut ignore).unwrap();
        let learnt: Arc<dyn Recall> = Arc::clone(editor.snapshot().unwrap().learnt());
        assert!(learnt.memory_of(5).is_some());
    }
}

#[test]
fn impossible_settings_are_refused() {
    let refused = |config: WiseConfig| {
        let error = Wise::new(tiny_model(1), config, vec!["Why?".to_owned()]).err();
        error.unwrap().to_string()
    };
    let merge = WiseConfig {
        merge_freq: Some(3),
        ..config()
    };
    assert_eq!(
        refused(merge),
        "merge_freq is 3, expected a multiple of save_freq"
    );
    let templates = WiseConfig {
        context_templates: 11,
        ..config()
    };
    assert!(refused(templates).contains("context_templates is 11"));
    let disjoint = WiseConfig {
        mask_overlap: Overlap::Disjoint,
        ..config()
    };
    assert!(refused(disjoint).contains("mask_overlap is disjoint"));
}
