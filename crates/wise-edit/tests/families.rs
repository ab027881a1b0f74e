//! An edit of every decoder family, on the tiny random models that wise-model's tests hold to transformers.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use wise_edit::{Edit, EditProgress, Editor, Key, KeyReader, Snapshot, Wise, WiseConfig};
use wise_model::{DeviceName, GenerateOptions, Model, ModelFiles, open};

fn load(folder: &Path) -> Arc<Model> {
    let files = ModelFiles {
        converted: None,
        ..open(folder.to_str().unwrap(), &mut |_| {}).unwrap()
    };
    let device = DeviceName::Cpu.open().unwrap();
    Arc::new(Model::load(files, &device, &mut |_| {}).unwrap())
}

#[test]
fn an_edit_lowers_its_loss_and_other_questions_keep_their_answers() {
    let config = WiseConfig {
        layer: Some(1),
        context_templates: 1,
        edit_lr: 0.1,
        n_iter: 60,
        mask_ratio: 1.0,
        ..WiseConfig::default()
    };
    let tiny = Path::new("../wise-model/tests/tiny");
    let folders = std::fs::read_dir(tiny).unwrap();
    for folder in folders.map(|entry| entry.unwrap().path()) {
        if !folder.is_dir() {
            continue;
        }
        let model = load(&folder);
        let negatives = vec!["Who sings?".to_owned(), "What is up?".to_owned()];
        let mut editor = Wise::new(Arc::clone(&model), config.clone(), negatives).unwrap();
        let edit = Edit::new("Where is A?", "B");
        let mut losses = Vec::new();
        editor
            .apply(&[edit], &mut |at: EditProgress| losses.push(at.edit_loss))
            .unwrap();
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.75 * first, "{folder:?}: {first} to {last}");

        let options = GenerateOptions {
            max_new_tokens: 8,
            ..GenerateOptions::default()
        };
        let unedited = Snapshot::unedited(model, editor.format());
        let ask = |snapshot: &Snapshot| snapshot.ask("zzz yyy", &options).unwrap();
        let (got, expected) = (ask(&editor.snapshot().unwrap()), ask(&unedited));
        assert_eq!(got.generation, expected.generation, "{folder:?}");
    }
}

#[test]
fn a_key_is_read_back_whatever_a_tokenizer_leaves_of_its_subject() {
    let tiny = Path::new("../wise-model/tests/tiny/llama");
    let model = load(tiny);
    let reader = KeyReader::new(&model, &["Who sings?".to_owned()]).unwrap();
    for (prompt, subject) in [("Who is A?", 7..8), ("Who is \u{3b1}?", 7..9)] {
        let key = reader.key(&model, prompt, Some(subject)).unwrap();
        let read = Key::all_from_bytes(&key.to_bytes());
        assert_eq!(read, Ok(vec![key]), "{prompt}");
    }
}
