//! What was run, and how to run it again.

use std::fmt::Write as _;

use serde_json::Value;
use wise_model::Precision;

use super::Number;
use crate::compare::flatten;
use crate::label;
use crate::metrics::Report;

/// The editor that draws nothing, and takes no seed.
const RETRIEVAL: &str = "retrieval";

/// Enough of a sha256 to tell two files apart.
const DIGEST: usize = 12;

pub(super) fn title(report: &Report) -> String {
    format!(
        "{} on {}, {}",
        report.editor,
        report.model.name,
        label::count(report.edits, "edit")
    )
}

/// What identifies the run.
pub(super) fn facts(report: &Report) -> Vec<Number> {
    let digest = |sha256: &str| {
        let start: String = sha256.chars().take(DIGEST).collect();
        format!("sha256 {start}")
    };
    let order = report.order.map_or_else(
        || "as in the file".to_owned(),
        |seed| format!("shuffled, seed {seed}"),
    );
    let superseded = report.records.iter().filter(|r| r.superseded_by.is_some());
    let sequence = match superseded.count() {
        0 => "in one sequence".to_owned(),
        some => format!("in one sequence, {some} superseded by a later one"),
    };
    let (model, data) = (&report.model, &report.data);
    vec![
        Number::new("Model", model.name.clone(), &digest(&model.sha256)),
        Number::new("Precision", model.precision.clone(), ""),
        Number::new("Editor", report.editor.clone(), ""),
        Number::new("Edits", report.edits.to_string(), &sequence),
        Number::new("Data set", data.path.clone(), &digest(&data.sha256)),
        Number::new("Data format", data.format.to_string(), ""),
        Number::new("Prompt format", report.prompt_format.to_string(), ""),
        Number::new("Seed", report.seed.to_string(), ""),
        Number::new("Order", order, ""),
    ]
}

/// Every hyperparameter; parts of nested ones are joined by dots.
pub(super) fn settings(report: &Report) -> Vec<[String; 2]> {
    let text = |value: Value| match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text,
        other => other.to_string(),
    };
    let settings = flatten("", &report.config).into_iter();
    settings.map(|(key, value)| [key, text(value)]).collect()
}

/// The command that makes this run again, with [`config`] in `config.toml`.
pub(super) fn command(report: &Report) -> String {
    let mut options = vec![
        format!("--model {}", quoted(&report.model.name)),
        format!("--data {}", quoted(&report.data.path)),
        format!("--format {} --edits {}", report.data.format, report.edits),
        format!("--prompt-format {}", report.prompt_format),
    ];
    if report.editor != RETRIEVAL {
        options.push(format!("--seed {}", report.seed));
    }
    match report.protocols {
        Some(protocols) if !protocols.generation => {
            options.push("--protocol teacher-forced".to_owned());
        }
        Some(protocols) if !protocols.teacher_forced => {
            options.push("--protocol generation".to_owned());
        }
        _ => {}
    }
    if let Some(held) = &report.held_text {
        let path = quoted(&held.path.display().to_string());
        options.push(format!(
            "--held-text {path} --held-windows {}",
            held.windows
        ));
    }
    if report.editor != "wise" {
        options.push(format!("--editor {}", quoted(&report.editor)));
    }
    if let Some(seed) = report.order {
        options.push(format!("--order {seed}"));
    }
    if report.model.precision != Precision::F32.to_string() {
        options.push(format!("--precision {}", report.model.precision));
    }
    let given = [
        ("--relations", &report.relations),
        ("--negatives", &report.negatives),
    ];
    for (flag, path) in given {
        if let Some(path) = path {
            options.push(format!("{flag} {}", quoted(&path.display().to_string())));
        }
    }
    if report.oracle_router {
        options.push("--oracle-router".to_owned());
    }
    options.push("--config config.toml --out run".to_owned());
    format!("wise eval {}", options.join(" \\\n    "))
}

/// For a POSIX shell.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=+,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

/// Hyperparameters of `wise` that mean no bound where they have no value; presets give them one.
const BOUNDS: [&str; 2] = ["router_gradient", "norm_constraint"];

/// The hyperparameters as TOML, which has no null: what is not set stays out.
pub(super) fn config(report: &Report) -> String {
    let Value::Object(fields) = &report.config else {
        return String::new();
    };
    let mut text = String::new();
    for (key, value) in fields {
        let value = match value {
            Value::Null if report.editor == "wise" && BOUNDS.contains(&&**key) => "inf".to_owned(),
            Value::Null => continue,
            set => toml(set),
        };
        let _ = writeln!(text, "{} = {value}", key_text(key));
    }
    text
}

fn key_text(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(bare) {
        return key.to_owned();
    }
    Value::from(key).to_string()
}

/// JSON's numbers, strings and arrays are TOML's too.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let set = fields.iter().filter(|(_, value)| !value.is_null());
            let pair =
                |(key, value): (&String, &Value)| format!("{} = {}", key_text(key), toml(value));
            format!("{{ {} }}", set.map(pair).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(toml).collect::<Vec<_>>().join(", ")
            )
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_are_quoted_where_a_shell_asks_for_it() {
        assert_eq!(quoted("hf:owner/name@v1"), "hf:owner/name@v1");
        assert_eq!(quoted("my data.jsonl"), "'my data.jsonl'");
        assert_eq!(quoted("it's; rm"), r"'it'\''s; rm'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn hyperparameters_become_toml() {
        let value = json!({"a": [1, 2.5, "x\"y"], "b.c": true, "d": null});
        assert_eq!(toml(&value), r#"{ a = [1, 2.5, "x\"y"], "b.c" = true }"#);
    }
}
