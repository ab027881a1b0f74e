//! Whatever questions are asked together, and with whatever cache, each is routed and answered as alone and without.

use std::sync::OnceLock;

use proptest::prelude::*;
use wise_model::{GenerateOptions, PromptFormat};

use crate::testing::tiny_model;
use crate::wise::{RouteBy, Wise, WiseConfig};
use crate::{Batch, Edit, EditProgress, Editor, Snapshot};

/// Logits that are nearer than this share of the largest count as equal.
const TIE: f32 = 1e-4;

fn snapshot(route_by: RouteBy) -> Snapshot {
    let config = WiseConfig {
        route_by,
        prompt_format: Some(PromptFormat::Raw),
        n_iter: 8,
        context_templates: 1,
        save_freq: 1,
        ..WiseConfig::default()
    };
    let negatives = ["Who sings?", "Why?"].map(str::to_owned);
    let mut editor = Wise::new(tiny_model(1), config, negatives.to_vec()).unwrap();
    let edit = |town: &str| Edit::new(format!("Where is {town}?"), format!("in {town}"));
    let edits = ["Ys", "Troy", "Ur"].map(edit);
    editor.apply(&edits, &mut |_: EditProgress| {}).unwrap();
    editor.snapshot().unwrap()
}

fn edited(route_by: RouteBy) -> &'static Snapshot {
    static SNAPSHOTS: [OnceLock<Snapshot>; 2] = [const { OnceLock::new() }; 2];
    SNAPSHOTS[usize::from(route_by == RouteBy::Keys)].get_or_init(|| snapshot(route_by))
}

fn question() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec!["Where is Ys?", "Where is Troy?", "Where is Ur?"]);
    prop_oneof![known.prop_map(str::to_owned), "[A-Za-z ?]{0,30}x"]
}

fn route_by() -> impl Strategy<Value = RouteBy> {
    prop::sample::select(vec![RouteBy::Keys, RouteBy::Activation])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn together_as_alone(route_by in route_by(), questions in prop::collection::vec((question(), 1usize..9), 1..7)) {
        let snapshot = edited(route_by);
        let options = |max_new_tokens| GenerateOptions { max_new_tokens, ..GenerateOptions::default() };
        let batches: Vec<Batch> = questions
            .iter()
            .map(|(question, most)| Batch { questions: vec![question], options: options(*most) })
            .collect();
        let together = snapshot.ask_batches(&batches).unwrap();
        for ((question, most), together) in questions.iter().zip(together) {
            let alone = snapshot.ask(question, &options(*most)).unwrap();
            prop_assert_eq!(together.route.memory, alone.route.memory, "{}", question);
            prop_assert_eq!(together.route.edit, alone.route.edit, "{}", question);
            prop_assert_eq!(together.generation, alone.generation, "{}", question);
        }
    }

    #[test]
    fn with_the_cache_as_without(route_by in route_by(), question in question()) {
        let snapshot = edited(route_by);
        let options = GenerateOptions { max_new_tokens: 8, ..GenerateOptions::default() };
        let answer = snapshot.ask(&question, &options).unwrap();
        let prompt = snapshot.model().prompt(PromptFormat::Raw, "", &question).unwrap();
        let generated = &answer.generation.tokens;
        prop_assume!(!generated.is_empty());
        let all = [prompt.tokens.clone(), generated.clone()].concat();
        let shown = snapshot.shown(&prompt, &all).unwrap();
        prop_assert_eq!(shown.route.memory, answer.route.memory);
        for (at, (got, expected)) in generated.iter().zip(&shown.predicted).enumerate() {
            if got != expected {
                let mut other = all[..=prompt.tokens.len() + at].to_vec();
                other[prompt.tokens.len() + at] = *expected;
                let other = snapshot.shown(&prompt, &other).unwrap();
                let (a, b) = (shown.nll[at], other.nll[at]);
                prop_assert!((a - b).abs() <= TIE * a.max(1.0), "{question}: {a} and {b}");
            }
        }
    }

    #[test]
    fn likelihoods_together_as_alone(route_by in route_by(), questions in prop::collection::vec(question(), 1..6)) {
        let snapshot = edited(route_by);
        let pairs: Vec<(&str, &str)> = questions.iter().map(|q| (q.as_str(), "in Ys")).collect();
        let together = snapshot.teacher_forced_together(&pairs).unwrap();
        for ((question, answer), together) in pairs.iter().zip(together) {
            let alone = snapshot.teacher_forced(question, answer).unwrap();
            prop_assert_eq!(together.route.memory, alone.route.memory);
            for (a, b) in together.nll.iter().zip(&alone.nll) {
                prop_assert!((a - b).abs() <= TIE * a.max(1.0), "{question}: {a} and {b}");
            }
        }
    }
}

#[test]
fn the_questions_reach_all_memories_and_none() {
    for route_by in [RouteBy::Keys, RouteBy::Activation] {
        let memory = |question| {
            let answer = edited(route_by).ask(question, &GenerateOptions::default());
            answer.unwrap().route.memory
        };
        let known = ["Where is Ys?", "Where is Troy?", "Where is Ur?"].map(memory);
        assert_eq!(known, [Some(0), Some(1), Some(2)]);
    }
    let other = edited(RouteBy::Keys).ask("Hm hm hm x", &GenerateOptions::default());
    assert_eq!(other.unwrap().route.memory, None);
}
