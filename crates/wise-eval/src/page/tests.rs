use serde_json::json;

use super::{Plot, plots, render, setup};
use crate::RouteTaken;
use crate::metrics::tests::report;
use crate::metrics::{Drift, Report, Summary};
use crate::{HeldText, Protocols};

/// What every page must be: whole, balanced, without anything that is not a number.
fn page(report: &Report) -> String {
    let page = render(report).unwrap();
    assert!(page.trim_end().ends_with("</html>"));
    for not in [
        "NaN", "inf ", "-inf", "<script", "http://", "https://", "src=", "@import",
    ] {
        assert!(!page.contains(not), "{not} in the page");
    }
    for tag in [
        "section", "table", "svg", "figure", "dl", "ul", "article", "p", "div",
    ] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    page
}

#[test]
fn a_page_has_all_its_parts() {
    let mut report = report(30);
    report.summary.drift = Some(Drift {
        windows: 8,
        perplexity_before: 20.0,
        perplexity_after: 21.5,
        routed_to_side: 0.0,
    });
    report.records[0].superseded_by = Some(2);
    let page = page(&report);
    for part in [
        "Reliability",
        "Generalization",
        "Protocol: generation",
        "Protocol: teacher-forced",
        "Retention",
        "threshold",
        "ROC, AUC 0.750",
        "Edit loss",
        "Router loss",
        "Time per edit",
        "Resident memory",
        "Worst edits",
        "edit_lr = 0.03",
        "wise eval --model smollm2 \\\n    --data zsre.jsonl \\\n    --format zsre --edits 30 \\\n",
        "prefers-color-scheme: dark",
        "20.0 → 21.5",
        "1 superseded by a later one",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
    // All edits count, the ten worst are listed.
    assert_eq!(page.matches("<article>").count(), 10);
}

#[test]
fn the_command_makes_the_run_again() {
    let mut report = report(3);
    let command = setup::command(&report);
    assert!(command.contains("--seed 0") && !command.contains("--protocol"));
    report.editor = "retrieval".to_owned();
    report.protocols = Some(Protocols {
        teacher_forced: false,
        generation: true,
    });
    report.held_text = Some(HeldText {
        path: "a text".into(),
        windows: 8,
    });
    let command = setup::command(&report);
    assert!(!command.contains("--seed"));
    for option in [
        "--editor retrieval",
        "--protocol generation",
        "--held-text 'a text' --held-windows 8",
    ] {
        assert!(command.contains(option), "{command}");
    }
}

#[test]
fn texts_are_escaped() {
    let mut report = report(3);
    let attack = "</title><script>alert('x')</script><img src=x>";
    report.model.name = attack.to_owned();
    report.config = json!({attack: attack});
    let worst = &mut report.records[2];
    worst.record.prompt = attack.to_owned();
    worst.record.target = attack.to_owned();
    let shown = worst.after.answers.get_mut("generation.edit").unwrap();
    shown.answer = Some(attack.to_owned());
    report.summary.retention[0].name = format!("{attack}.edit.exact_match");
    report.summary.scores[0].name = format!("{attack}.edit.exact_match");
    let page = render(&report).unwrap();
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("<img"), "{page}");
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn a_long_answer_is_cut_between_letters() {
    let mut report = report(3);
    let shown = report.records[2].after.answers.get_mut("generation.edit");
    shown.unwrap().answer = Some("é".repeat(1000));
    let page = page(&report);
    assert!(page.contains(&format!("{} …", "é".repeat(300))));
    assert!(!page.contains(&"é".repeat(301)));
}

#[test]
fn one_edit_makes_a_page() {
    let page = page(&report(1));
    assert!(page.contains("one record"));
    assert!(page.contains("whisker"));
    assert!(page.contains("Every scored edit kept everything"));
}

#[test]
fn nothing_makes_a_page() {
    let mut report = report(1);
    report.records.clear();
    report.edits = 0;
    report.config = json!(null);
    report.summary = Summary::default();
    let page = page(&report);
    assert!(page.contains("No score was recorded"));
    assert!(page.contains("does not route"));
    assert!(page.contains("recorded no losses"));
}

#[test]
fn an_editor_without_routes_or_losses_makes_a_page() {
    let mut report = report(5);
    report.editor = "grace".to_owned();
    for record in &mut report.records {
        record.losses.clear();
        record.resident_bytes = None;
        for shown in record.after.answers.values_mut() {
            shown.route = RouteTaken {
                memory: None,
                activation: None,
                threshold: None,
                edit: None,
            };
        }
    }
    report.summary = Summary::of(&report.records);
    let page = page(&report);
    assert!(page.contains("does not route"));
    assert!(page.contains("--editor grace"));
    assert!(!page.contains("Resident memory"));
}

#[test]
fn numbers_that_are_none_leave_the_plots_whole() {
    let mut report = report(4);
    report.records[0].losses = vec![[f32::NAN, f32::INFINITY]; 3];
    report.records[1].seconds = f64::NAN;
    report.summary.scores[0].interval.high = f64::NAN;
    report.summary.retention[0].bins[0].interval.low = f64::NAN;
    page(&report);
}

#[test]
fn a_thousand_edits_make_a_small_page() {
    let size = page(&report(1000)).len();
    assert!(size < 150_000, "{size}");
}

#[test]
fn plots_stand_alone() {
    let mut report = report(30);
    report.summary.retention[0].name = "generation.<b>.exact_match".to_owned();
    let plots = plots(&report);
    let names: Vec<&str> = plots.iter().map(|plot| &*plot.name).collect();
    for name in ["histogram", "roc", "edit-loss", "time", "memory"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let page = render(&report).unwrap();
    assert_eq!(page.matches("<figure>").count(), plots.len());
    for Plot { name, svg } in &plots {
        assert!(svg.starts_with("<svg xmlns="), "{name}: {svg}");
        for not in ["var(", "NaN", "<b>", "<script"] {
            assert!(!svg.contains(not), "{not} in {name}: {svg}");
        }
        for tag in ["svg", "text", "style"] {
            let opened =
                svg.matches(&format!("<{tag}>")).count() + svg.matches(&format!("<{tag} ")).count();
            assert_eq!(
                opened,
                svg.matches(&format!("</{tag}>")).count(),
                "{tag} in {name}"
            );
        }
    }
}
