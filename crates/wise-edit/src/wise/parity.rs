//! Parity of one edit with the reference implementation (`EasyEdit` 14cea82 on `PyTorch`, float32, CPU).
//!
//! Tolerances: losses of ten iterations within 1e-2 relative; activations within 2 % after the edit; the
//! side memory's distance from the main memory within 2 %.

use std::sync::OnceLock;

use burn::tensor::{Tensor, TensorData};
use serde_json::Value;
use wise_memory::{Key, Query, Remembered, SideMemory};
use wise_merge::SubspaceMask;
use wise_model::{DeviceName, Model, PromptFormat};

use crate::Edit;
use crate::wise::negatives::NegativePool;
use crate::wise::rows::{Lesson, TrainingRows};
use crate::wise::trainer::{Iteration, Trained, Trainer};
use crate::wise::{Compatibility, WiseConfig, context_templates};

fn golden() -> &'static Value {
    static GOLDEN: OnceLock<Value> = OnceLock::new();
    GOLDEN.get_or_init(|| {
        serde_json::from_str(include_str!("../../tests/golden/smollm2_wise_edit.json")).unwrap()
    })
}

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let device = DeviceName::Cpu.open().unwrap();
        Model::open("smollm2", &device, &mut |_| {}).expect("the smollm2 model loads")
    })
}

fn config() -> WiseConfig {
    WiseConfig {
        prompt_format: Some(PromptFormat::Raw),
        layer: Some(26),
        edit_lr: 0.9,
        n_iter: 10,
        act_margin: [2.0, 20.0, 10.0],
        act_ratio: 0.5,
        ..WiseConfig::of(Compatibility::EasyEdit)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn numbers(value: &Value) -> Vec<f32> {
    let list = value.as_array().unwrap();
    list.iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

fn templates() -> Vec<String> {
    let list = golden()["context_templates"].as_array().unwrap();
    list.iter()
        .map(|template| text(template).strip_suffix("{}").unwrap().to_owned())
        .collect()
}

fn edit() -> Edit {
    let edit = &golden()["edit"];
    Edit::new(text(&edit["prompt"]), text(&edit["target_new"]))
}

fn mask() -> Tensor<2> {
    let bits = include_bytes!("../../tests/golden/smollm2_wise_mask.bin");
    let mask = SubspaceMask::from_packed_bits(bits, 576 * 1536).unwrap();
    assert_eq!(
        mask.count() as u64,
        golden()["mask"]["true_count"].as_u64().unwrap()
    );
    Tensor::from_data(
        TensorData::new(mask.to_dense(), [576, 1536]),
        model().device(),
    )
}

fn train() -> &'static (Tensor<2>, Trained, Vec<Iteration>) {
    static RUN: OnceLock<(Tensor<2>, Trained, Vec<Iteration>)> = OnceLock::new();
    RUN.get_or_init(|| {
        let (model, config) = (model(), config());
        let negative = text(&golden()["edit"]["loc_prompt"]).to_owned();
        let pool = NegativePool::new(vec![negative]).unwrap();
        pool.prepare(model, &config, 0).unwrap();
        let lesson = Lesson {
            edit: &edit(),
            index: 1,
            templates: &templates(),
            subject_prompts: Vec::new(),
            longest_negative: pool.longest(0, &config),
        };
        let rows = TrainingRows::new(model, &config, &lesson).unwrap();
        let site = model.prefix(&rows.rows, 26, None).unwrap();
        let trainer = Trainer::new(model, &config, &rows, site, &pool, 0).unwrap();
        let main = model.site_weight(26).unwrap();
        let mut iterations = Vec::new();
        let trained = trainer.train(main.clone(), &mask(), &mut |_, iteration| {
            iterations.push(iteration.clone());
        });
        (main, trained, iterations)
    })
}

#[track_caller]
fn assert_close(got: f32, expected: f32, tolerance: f32, what: &str) {
    let error = (got - expected).abs() / expected.abs().max(1e-3);
    assert!(error < tolerance, "{what}: got {got}, expected {expected}");
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn context_templates_are_the_references() {
    assert_eq!(context_templates(model(), 10).unwrap(), templates());
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn losses_follow_the_golden_trajectory() {
    let golden = golden()["iters"].as_array().unwrap();
    let (_, _, iterations) = train();
    assert_eq!(iterations.len(), golden.len());
    for (i, (got, golden)) in iterations.iter().zip(golden).enumerate() {
        let number = |key: &str| golden[key].as_f64().unwrap() as f32;
        println!(
            "{i}: edit {} ({}), router {} ({})",
            got.edit_loss,
            number("ft_loss"),
            got.router_loss,
            number("act_loss")
        );
        assert_close(
            got.edit_loss,
            number("ft_loss"),
            1e-2,
            &format!("edit loss {i}"),
        );
        assert_close(
            got.router_loss,
            number("act_loss"),
            1e-2,
            &format!("router loss {i}"),
        );
        let distances = numbers(&golden["dist_per_row"]);
        for (row, (&got, &expected)) in got.activations.iter().zip(&distances).enumerate() {
            if expected > 0.0 {
                assert_close(got, expected, 2e-2, &format!("activation {row} at {i}"));
            }
        }
    }
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn the_side_memory_ends_where_the_reference_does() {
    let after = &golden()["after"];
    let (main, trained, _) = train();
    let number = |key: &str| after[key].as_f64().unwrap() as f32;
    assert_close(
        trained.activation,
        number("min_act"),
        2e-2,
        "smallest activation",
    );
    let change = (trained.matrix.clone() - main.clone())
        .square()
        .sum()
        .sqrt();
    assert_close(change.into_scalar(), number("dW_norm"), 2e-2, "distance");
    let outside = mask().neg() + 1.0;
    let drift = ((trained.matrix.clone() - main.clone()) * outside)
        .square()
        .sum()
        .sqrt();
    let expected = number("dW_norm_unmasked_part(weight decay only)");
    assert_close(
        drift.into_scalar(),
        expected,
        2e-2,
        "decay outside the mask",
    );
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn the_router_measures_what_the_reference_does() {
    let (_, trained, _) = train();
    let key = Key::from_bytes(&[[1, 0, 0].as_slice(), &[0; 64]].concat())
        .unwrap()
        .0;
    let memories = [SideMemory {
        matrix: trained.matrix.clone(),
        edits: vec![Remembered {
            edit: 1,
            activation: trained.activation,
            key,
        }],
    }];
    for probe in golden()["router"].as_array().unwrap() {
        let tokens = model().tokenize(text(&probe["text"])).unwrap();
        let query = Query {
            sequence: 0..tokens.len(),
            scope: 0..tokens.len(),
            prompt_end: tokens.len() - 1,
            reading: None,
        };
        let site = model().prefix(&[tokens.into()], 26, None).unwrap();
        let route = config()
            .router(false)
            .route(model(), &site, &[query], &memories)[0];
        let expected = probe["activation"].as_f64().unwrap() as f32;
        assert_close(route.activation, expected, 2e-2, text(&probe["what"]));
        assert_eq!(route.memory.is_some(), probe["fires"].as_bool().unwrap());
    }
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn every_row_of_an_edit_ends_with_the_label_that_stops_an_answer() {
    let end = model().tokenize("<|im_end|>").unwrap();
    assert_eq!(end, model().eos());
    for format in [PromptFormat::Raw, PromptFormat::Chat] {
        let config = WiseConfig {
            prompt_format: Some(format),
            ..WiseConfig::default()
        };
        let lesson = Lesson {
            edit: &edit(),
            index: 1,
            templates: &templates(),
            subject_prompts: Vec::new(),
            longest_negative: 0,
        };
        let rows = TrainingRows::new(model(), &config, &lesson).unwrap();
        let per_row = rows.labels.len() / rows.rows.len();
        for (row, labels) in rows.rows.iter().zip(rows.labels.chunks(per_row)) {
            assert_eq!(labels.last(), end.last());
            assert_eq!(row.tokens.last(), end.last());
        }
        // "University of Michigan", then the end.
        assert_eq!(per_row, 4);
    }
}
