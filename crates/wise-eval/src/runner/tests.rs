use std::sync::Arc;

use serde_json::json;
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use wise_edit::{AppliedEdit, Edit};
use wise_model::{
    Config, DeviceName, Family, Model, ModelFiles, PromptFormat, TensorSource, expected_tensors,
};

use super::*;
use crate::Probe;

fn config() -> Config {
    Config {
        family: Family::Llama,
        vocab_size: 257,
        hidden_size: 16,
        ffn_size: 24,
        layers: 2,
        heads: 2,
        kv_heads: 2,
        head_dim: 8,
        rms_norm_eps: 1e-5,
        rope_theta: 10000.0,
        rope_scaling: None,
        context: 128,
        sliding_window: None,
        qkv_bias: false,
        tied_head: true,
    }
}

/// Weights from a linear congruential generator.
struct Noise(u32);

impl TensorSource for Noise {
    fn names(&self) -> Vec<String> {
        expected_tensors(&config())
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let mut tensors = expected_tensors(&config()).into_iter();
        tensors.find(|(n, _)| n == name).map(|(_, shape)| shape)
    }

    fn read(&mut self, name: &str) -> wise_model::Result<Vec<f32>> {
        let count = self.shape(name).unwrap().iter().product();
        Ok((0..count)
            .map(|_| {
                self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (self.0 >> 8) as f32 / 16_777_216.0 - 0.5
            })
            .collect())
    }
}

/// Bytes as tokens, and one that ends a text.
fn tokenizer() -> Tokenizer {
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut vocabulary = json!({"<end>": 0});
    for (id, character) in (1..).zip(alphabet) {
        vocabulary[character.to_string()] = json!(id);
    }
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [], "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {"type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocabulary, "merges": []}
    });
    json.to_string().parse().unwrap()
}

fn snapshot(seed: u32) -> Snapshot {
    let files = ModelFiles {
        name: "noise".to_owned(),
        config: config(),
        tokenizer: tokenizer(),
        chat_template: None,
        eos: vec![0],
        tensors: Box::new(Noise(seed)),
        sha256: String::new(),
    };
    let device = DeviceName::Cpu.open().unwrap();
    let model = Model::load(files, &device, &mut |_| {}).unwrap();
    Snapshot::unedited(Arc::new(model), PromptFormat::Raw)
}

/// Learns nothing, but hands out another model than it was given.
struct Fake {
    edited: Snapshot,
    seen: Vec<Edit>,
}

impl Fake {
    fn new(edited: Snapshot) -> Self {
        Self {
            edited,
            seen: Vec::new(),
        }
    }
}

impl Editor for Fake {
    fn apply(
        &mut self,
        edits: &[Edit],
        progress: &mut dyn FnMut(EditProgress),
    ) -> wise_edit::Result<Vec<AppliedEdit>> {
        let [edit] = edits else {
            panic!("edits are timed one by one");
        };
        self.seen.push(edit.clone());
        progress(EditProgress {
            edit: 0,
            edits: 1,
            iteration: 7,
            iterations: 9,
            loss: 0.5,
        });
        Ok(vec![AppliedEdit {
            edit: edit.clone(),
            rehearsed: Vec::new(),
            first_negative: 0,
            iterations: 7,
            edit_loss: 0.5,
            router_loss: 0.0,
            activation: 1.0,
        }])
    }

    fn snapshot(&self) -> Snapshot {
        assert_eq!(self.seen.len(), 2, "scored before the last edit");
        self.edited.clone()
    }
}

/// One record with everything, one with nothing but an edit.
fn records() -> Vec<Record> {
    let bare = Record {
        prompt: "Where is E?".to_owned(),
        target: "in F".to_owned(),
        ..Record::default()
    };
    let full = Record {
        prompt: "Where is A?".to_owned(),
        target: "in B".to_owned(),
        subject: Some("A".to_owned()),
        rephrase: Some("A is where?".to_owned()),
        locality: vec![Probe {
            prompt: "Who is C?".to_owned(),
            answer: Some("That is D".to_owned()),
        }],
        ..Record::default()
    };
    vec![full, bare]
}

fn evaluate(editor: &mut Fake, protocols: Protocols) -> Result<Scores> {
    run(editor, &snapshot(1), &records(), protocols, &mut |_| {})
}

#[test]
fn a_model_that_stays_as_it_is_scores_as_before_with_locality_one() {
    let mut editor = Fake::new(snapshot(1));
    let scores = evaluate(&mut editor, Protocols::BOTH).unwrap();
    assert_eq!(
        editor.seen,
        records().iter().map(Record::edit).collect::<Vec<_>>()
    );
    let summary = scores.summary();
    let (mut forced, mut generated) = (
        summary.after.teacher_forced.unwrap(),
        summary.after.generation.unwrap(),
    );
    assert_eq!(
        (forced.locality.take(), generated.locality.take()),
        (Some(1.0), Some(1.0))
    );
    assert_eq!(Some(forced), summary.before.teacher_forced);
    assert_eq!(Some(generated), summary.before.generation);
    let [full, bare] = &scores.records[..] else {
        panic!("{scores:?}");
    };
    assert_eq!((full.iterations, &full.record), (7, &records()[0]));
    let full = full.after.generation.as_ref().unwrap();
    assert!(!full.reliability.answer.is_empty());
    let bare = bare.after.generation.as_ref().unwrap();
    assert_eq!((&bare.generalization, &bare.locality), (&None, &None));
}

#[test]
fn another_model_loses_locality_and_the_baseline_is_the_unedited_one() {
    let scores = evaluate(&mut Fake::new(snapshot(2)), Protocols::BOTH).unwrap();
    let same = evaluate(&mut Fake::new(snapshot(1)), Protocols::BOTH).unwrap();
    let summary = scores.summary();
    assert!(summary.after.teacher_forced.unwrap().locality.unwrap() < 1.0);
    assert_eq!(summary.after.generation.unwrap().locality, Some(0.0));
    assert_eq!(summary.before, same.summary().before);
    let locality = |scores: &Scores| scores.records[0].after.generation.clone().unwrap().locality;
    let (changed, kept) = (locality(&scores).unwrap(), locality(&same).unwrap());
    assert_eq!(changed.unedited, kept.answer);
    assert_ne!(changed.answer, kept.answer);
}

#[test]
fn a_protocol_that_was_not_asked_for_is_absent() {
    let protocols = Protocols {
        teacher_forced: true,
        generation: false,
    };
    let scores = evaluate(&mut Fake::new(snapshot(1)), protocols).unwrap();
    let summary = scores.summary();
    assert!(summary.after.generation.is_none() && summary.before.generation.is_none());
    assert!(summary.after.teacher_forced.is_some() && summary.before.teacher_forced.is_some());
}

#[test]
fn progress_counts_records_and_edits() {
    let mut seen = Vec::new();
    let mut editor = Fake::new(snapshot(1));
    let protocols = Protocols {
        teacher_forced: true,
        generation: false,
    };
    run(&mut editor, &snapshot(1), &records(), protocols, &mut |p| {
        seen.push(p);
    })
    .unwrap();
    let editing = |edit| {
        EvalProgress::Editing(EditProgress {
            edit,
            edits: 2,
            iteration: 7,
            iterations: 9,
            loss: 0.5,
        })
    };
    let expected = [
        EvalProgress::Baseline { done: 1, of: 2 },
        EvalProgress::Baseline { done: 2, of: 2 },
        editing(0),
        editing(1),
        EvalProgress::Scoring { done: 1, of: 2 },
        EvalProgress::Scoring { done: 2, of: 2 },
    ];
    assert_eq!(seen, expected);
}
