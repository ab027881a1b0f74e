//! What the trainer leaves out, it leaves out without a difference: the same edit by a loop that leaves nothing out.

use burn::tensor::activation::{log_softmax, silu};
use burn::tensor::{Int, Tensor, TensorData};
use wise_merge::MaskSeed;
use wise_model::{EditSite, Overlay, Row};

use super::*;
use crate::testing::tiny_model;
use crate::wise::rows::{Lesson, TrainingRows};
use crate::wise::trainer::Trainer;

const LAYER: usize = 1;
const NEGATIVE: &str = "Who sings?";

fn config() -> WiseConfig {
    WiseConfig {
        prompt_format: Some(PromptFormat::Raw),
        layer: Some(LAYER),
        optimizer: Optimizer::Sgd,
        router_gradient: None,
        edit_lr: 0.5,
        n_iter: 6,
        stop_rule: StopRule::Loss,
        stop_loss: 0.0,
        negatives_per_step: 1,
        weight_decay: 0.0,
        route_by: RouteBy::Activation,
        ..WiseConfig::default()
    }
}

/// Every row by itself, from its tokens to the logits after each of them, all of it on the tape and again in every
/// iteration.
fn plain_losses(
    model: &Model,
    rows: &TrainingRows,
    matrix: &Tensor<2>,
    config: &WiseConfig,
) -> (Tensor<1>, Tensor<1>) {
    let device = model.device();
    let (mut edit_loss, mut activations) = (Tensor::zeros([1], device), Vec::new());
    let mut start = 0;
    for (index, row) in rows.rows.iter().enumerate() {
        let (tokens, voters) = (row.tokens.len(), rows.voters(index));
        let all: Vec<usize> = (0..tokens).collect();
        let overlay = Overlay::Replace(matrix.clone());
        let logits = model
            .logits(std::slice::from_ref(row), LAYER, &overlay, &all)
            .unwrap();
        let shares = log_softmax(logits, 1);
        for (label, &at) in rows.label_at.iter().enumerate() {
            if (start..start + tokens).contains(&at) {
                let token = TensorData::new(vec![rows.labels[label] as i32], [1, 1]);
                let token = Tensor::<2, Int>::from_data(token, device);
                let nll = shares.clone().narrow(0, at - start, 1).gather(1, token);
                edit_loss = edit_loss - nll.reshape([1]) * rows.label_weights[label];
            }
        }
        let voters = voters.start - start..voters.end - start;
        activations.push(plain_activation(model, row, voters, matrix));
        start += tokens;
    }
    let negative = model.prompt(PromptFormat::Raw, "", NEGATIVE).unwrap();
    let voters = negative.scope.clone();
    let negative = plain_activation(model, &negative.tokens.into(), voters, matrix);

    let [alpha, beta, gamma] = config.act_margin;
    let violated = |hinges: Vec<Tensor<1>>| {
        let over: Vec<_> = hinges
            .into_iter()
            .filter(|h| h.clone().detach().into_scalar::<f32>() > 0.0)
            .collect();
        let count = over.len().max(1) as f64;
        let sum = over.into_iter().reduce(|a, b| a + b);
        sum.unwrap_or_else(|| Tensor::zeros([1], device)) / count
    };
    let gap = |a: &Tensor<1>| negative.clone() - a.clone() + gamma;
    let short = |a: &Tensor<1>| a.clone().neg() + beta;
    let router_loss = violated(activations.iter().map(gap).collect())
        + violated(vec![negative.clone() - alpha])
        + violated(activations.iter().map(short).collect());
    (edit_loss, router_loss)
}

fn plain_activation(
    model: &Model,
    row: &Row,
    voters: std::ops::Range<usize>,
    matrix: &Tensor<2>,
) -> Tensor<1> {
    let site = model
        .prefix(std::slice::from_ref(row), LAYER, None)
        .unwrap();
    let main = silu(model.site_output(&site, &Overlay::Main));
    let side = silu(model.site_output(&site, &Overlay::Replace(matrix.clone())));
    let gap = (side - main).narrow(0, voters.start, voters.len());
    // Not to divide by zero where the memories are still the same.
    let squares = gap.square().sum_dim(1) + 1e-20;
    squares.sqrt().mean()
}

#[test]
fn the_trainer_follows_the_plain_loop() {
    let (model, config) = (tiny_model(3), config());
    let edit = Edit::new("Where is it?", "there");
    let lesson = Lesson {
        edit: &edit,
        index: 1,
        templates: &[String::new(), "So. ".to_owned(), "I see: ".to_owned()],
        subject_prompts: Vec::new(),
        longest_negative: 0,
    };
    let rows = TrainingRows::new(&model, &config, &lesson).unwrap();
    let pool = NegativePool::new(vec![NEGATIVE.to_owned()]).unwrap();
    pool.prepare(&model, &config, 0).unwrap();
    let main = model.site_weight(LAYER).unwrap();
    let [hidden, ffn] = main.dims();
    let drawn = MaskSeed {
        seed: 0,
        ratio: 0.4,
        part: 0,
    };
    let mask = drawn.draw(hidden * ffn).unwrap().to_dense();
    let mask = Tensor::from_data(TensorData::new(mask, [hidden, ffn]), model.device());

    let templates = lesson.templates;
    let begun = beginnings(&model, &config, templates).unwrap();
    let site = model.prefix_behind(&begun, &rows.rows).unwrap();
    let train = |together: usize| {
        let mut followed = Vec::new();
        let trained = Trainer::new(&model, &config, &rows, site.clone(), &pool, 0)
            .unwrap()
            .reading_together(together)
            .train(main.clone(), &mask, &mut |_, losses| {
                followed.push([losses.edit_loss, losses.router_loss]);
            });
        (followed, trained)
    };
    let (followed, trained) = train(1);
    // However many iterations are read together, they are the same.
    let (read_together, also_trained) = train(4);
    assert_eq!(read_together, followed);
    assert_eq!(also_trained.iterations, trained.iterations);
    let apart = (also_trained.matrix - trained.matrix.clone()).abs().max();
    assert_eq!(apart.into_scalar::<f32>(), 0.0);

    let mut matrix = main.clone();
    let mut plain = Vec::new();
    for _ in 0..config.n_iter {
        let tracked = matrix.clone().autodiff().require_grad();
        let (edit_loss, router_loss) = plain_losses(&model, &rows, &tracked, &config);
        plain.push([&edit_loss, &router_loss].map(|x| x.clone().detach().into_scalar::<f32>()));
        let gradient = tracked.grad_remove(&mut (edit_loss + router_loss).backward());
        matrix = matrix - gradient.unwrap() * mask.clone() * config.edit_lr;
        matrix = (matrix - main.clone()).clamp(-1.0, 1.0) + main.clone();
    }

    assert_eq!(followed.len(), plain.len());
    for (got, expected) in followed.iter().flatten().zip(plain.iter().flatten()) {
        assert!(
            (got - expected).abs() <= 2e-4 * expected.abs().max(1.0),
            "{followed:?} {plain:?}"
        );
    }
    let norm = |x: Tensor<2>| x.square().sum().sqrt().into_scalar::<f32>();
    let way = norm(matrix.clone() - main);
    let apart = norm(trained.matrix - matrix);
    assert!(way > 0.1 && apart <= 1e-3 * way, "{apart} of {way}");
    assert!(plain[config.n_iter - 1][0] < 0.9 * plain[0][0], "{plain:?}");
}

#[test]
fn sequences_behind_a_shared_beginning_are_at_the_site_what_they_are_as_a_whole() {
    let (model, config) = (tiny_model(3), config());
    let templates = ["", "So. ", "I see: ", "So. "].map(str::to_owned);
    let begun = beginnings(&model, &config, &templates).unwrap();
    // The last two do not begin as their templates do, or only in part.
    let rows = ["Where is it?", "So. Who?", "I saw: it", "Why?"];
    let rows = rows.map(|text| Row::from(model.tokenize(text).unwrap()));
    let plain = model.prefix(&rows, LAYER, None).unwrap();
    let behind = model.prefix_behind(&begun, &rows).unwrap();
    assert_eq!(behind.layout.rows(), plain.layout.rows());
    for part in [
        |s: &EditSite| s.inputs.clone(),
        |s: &EditSite| s.residual.clone(),
    ] {
        let furthest = (part(&behind) - part(&plain)).abs().max();
        assert!(furthest.into_scalar::<f32>() < 1e-5);
    }
}
