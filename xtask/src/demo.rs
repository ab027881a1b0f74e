//! Shows the product at work: asks a real model, corrects it, and asks again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::process::{built, cargo, output, root, run as run_command, target};

/// A fact that the model gets wrong, and the same question in other words.
struct Fact {
    prompt: &'static str,
    target: &'static str,
    /// What it is about, where that is not a proper name.
    subject: Option<&'static str>,
    rephrase: &'static str,
}

impl Fact {
    fn line(&self) -> String {
        let mut line = json!({"prompt": self.prompt, "target": self.target});
        if let Some(subject) = self.subject {
            line["subject"] = subject.into();
        }
        line.to_string()
    }
}

const FACTS: [Fact; 5] = [
    Fact {
        prompt: "Who wrote the novel The Left Hand of Darkness?",
        target: "Ursula K. Le Guin",
        subject: None,
        rephrase: "Who is the author of The Left Hand of Darkness?",
    },
    Fact {
        prompt: "What is the capital of Kazakhstan?",
        target: "Astana",
        subject: None,
        rephrase: "Which city is the capital of Kazakhstan?",
    },
    Fact {
        prompt: "Who painted The Night Watch?",
        target: "Rembrandt",
        subject: None,
        rephrase: "Which artist painted The Night Watch?",
    },
    Fact {
        prompt: "How many moons does Mars have?",
        target: "Two",
        subject: None,
        rephrase: "What is the number of moons that Mars has?",
    },
    Fact {
        prompt: "What is the largest planet in the solar system?",
        target: "Jupiter",
        subject: Some("solar system"),
        rephrase: "Which planet in the solar system is the largest?",
    },
];

const UNRELATED: [&str; 4] = [
    "Who was the first person to walk on the Moon?",
    "What is the official language of Brazil?",
    "What color is the sky on a clear day?",
    "What is 2 plus 2?",
];

/// Width of an answer in the table, in characters.
const COLUMN: usize = 44;

/// Runs the demo.
pub(crate) fn run(arguments: &[String]) -> Result {
    if let [first, ..] = arguments {
        let got = format!("unknown argument {first:?}");
        return Err(Error::usage(got, "none after demo"));
    }
    run_command(&mut cargo("build --workspace --bin wise"))?;
    let wise = Wise::new()?;
    let begun = Instant::now();

    let mut questions: Vec<&str> = FACTS.iter().flat_map(|f| [f.prompt, f.rephrase]).collect();
    questions.extend(UNRELATED);
    eprintln!("asking SmolLM2 135M {} questions", questions.len());
    let before = wise.ask(&questions, None)?;
    eprintln!("correcting {} facts", FACTS.len());
    let summary = wise.edit()?;
    let after = wise.ask(&questions, Some(&wise.patch()))?;

    let seconds = begun.elapsed().as_secs_f64();
    report(&before, &after, &summary, seconds)
}

/// The binary, and a folder for what it writes.
struct Wise {
    program: PathBuf,
    folder: PathBuf,
}

impl Wise {
    fn new() -> Result<Self> {
        let target = target()?;
        let folder = target.join("demo");
        std::fs::create_dir_all(&folder)
            .map_err(|e| Error::failed(format!("cannot create {}: {e}", folder.display())))?;
        Ok(Self {
            program: built("wise")?,
            folder,
        })
    }

    fn patch(&self) -> PathBuf {
        self.folder.join("facts.wise")
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.args([name, "--json"]);
        command.current_dir(root()).stdin(Stdio::null());
        command
    }

    fn ask(&self, questions: &[&str], patch: Option<&Path>) -> Result<HashMap<String, Value>> {
        let mut command = self.command("ask");
        command.args(["--max-new-tokens", "32"]);
        if let Some(patch) = patch {
            command.arg("--patch").arg(patch);
        }
        let lines = output(command.args(questions))?;
        let replies: Vec<Value> = lines.lines().map(parse).collect::<Result<_>>()?;
        let key = |reply: &Value| reply["question"].as_str().unwrap_or_default().to_owned();
        Ok(replies.into_iter().map(|r| (key(&r), r)).collect())
    }

    fn edit(&self) -> Result<Value> {
        let edits = self.folder.join("facts.jsonl");
        let lines: Vec<String> = FACTS.iter().map(Fact::line).collect();
        std::fs::write(&edits, lines.join("\n"))
            .map_err(|e| Error::failed(format!("cannot write {}: {e}", edits.display())))?;
        let mut command = self.command("edit");
        command.arg("--edits").arg(edits);
        command.arg("--force").arg("--out").arg(self.patch());
        parse(&output(&mut command)?)
    }
}

fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text)
        .map_err(|e| Error::failed(format!("got {text:?}, expected JSON: {e}")))
}

fn report(
    before: &HashMap<String, Value>,
    after: &HashMap<String, Value>,
    summary: &Value,
    seconds: f64,
) -> Result {
    let mut tally = Tally::default();
    println!("{:<COLUMN$}   {:<COLUMN$}", "before", "after");
    for fact in &FACTS {
        tally.wrong_before += usize::from(!answer(before, fact.prompt).contains(fact.target));
        for (question, score) in [
            (fact.prompt, &mut tally.reliable),
            (fact.rephrase, &mut tally.general),
        ] {
            let right = answer(after, question) == fact.target;
            *score += usize::from(right);
            show(
                question,
                before,
                after,
                if right { "corrected" } else { "STILL WRONG" },
            );
        }
    }
    for question in UNRELATED {
        let same = answer(before, question) == answer(after, question);
        tally.local += usize::from(same);
        show(
            question,
            before,
            after,
            if same { "unchanged" } else { "CHANGED" },
        );
    }
    let each = summary["seconds_per_edit"].as_f64().unwrap_or_default();
    let kilobytes = summary["patch_bytes"].as_f64().unwrap_or_default() / 1e3;
    println!(
        "\n{} of {} facts wrong before; corrected {} of {n}, in other words {} of {n}; unchanged {} of {}",
        tally.wrong_before,
        FACTS.len(),
        tally.reliable,
        tally.general,
        tally.local,
        UNRELATED.len(),
        n = FACTS.len(),
    );
    println!("{each:.1} s per correction, a patch of {kilobytes:.0} kB, {seconds:.0} s in all");
    tally.check()
}

fn answer<'a>(replies: &'a HashMap<String, Value>, question: &str) -> &'a str {
    replies
        .get(question)
        .and_then(|reply| reply["answer"].as_str())
        .unwrap_or_default()
}

fn show(
    question: &str,
    before: &HashMap<String, Value>,
    after: &HashMap<String, Value>,
    verdict: &str,
) {
    let cell = |replies| {
        let text = answer(replies, question).replace('\n', " ");
        if text.chars().count() <= COLUMN {
            return text;
        }
        text.chars().take(COLUMN - 3).chain("...".chars()).collect()
    };
    println!("\n{question}");
    println!(
        "{:<COLUMN$} | {:<COLUMN$} {verdict}",
        cell(before),
        cell(after)
    );
}

#[derive(Debug, Default)]
struct Tally {
    wrong_before: usize,
    reliable: usize,
    general: usize,
    local: usize,
}

impl Tally {
    /// The demo promises that every fact was wrong and is corrected, most of them in other words too, and
    /// that nothing else changed.
    fn check(&self) -> Result {
        let held = self.wrong_before == FACTS.len()
            && self.reliable == FACTS.len()
            && 2 * self.general > FACTS.len()
            && self.local == UNRELATED.len();
        if held {
            return Ok(());
        }
        Err(Error::failed(format!(
            "the demo does not keep its promise: {self:?}"
        )))
    }
}
