//! The binary from outside, on SmolLM2 135M.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;
use tempfile::TempDir;

fn wise(folder: &Path, args: &[&str]) -> Vec<u8> {
    let mut command = Command::cargo_bin("wise").unwrap();
    command.current_dir(folder).args(args);
    let assert = command.assert().success();
    assert.get_output().stdout.clone()
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn threads_do_not_change_a_bit() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("quick.toml"), "n_iter = 4\n").unwrap();
    let run = |threads: &str, out: &str| {
        let mut command = Command::cargo_bin("wise").unwrap();
        command
            .current_dir(folder.path())
            .env("RAYON_NUM_THREADS", threads)
            // The time is part of a patch.
            .env("SOURCE_DATE_EPOCH", "1764105360")
            .args(["edit", "--config", "quick.toml", "--out", out])
            .args(["--prompt", "What is the capital of Kazakhstan?"])
            .args(["--target", "Astana"]);
        command.assert().success();
        fs::read(folder.path().join(out)).unwrap()
    };
    let one = run("1", "a.wise");
    assert!(one == run("1", "b.wise"), "one thread, twice");
    assert!(one == run("2", "c.wise"), "two threads");
    assert!(one == run("2", "d.wise"), "two threads, twice");
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn a_fact_is_corrected_in_both_formats_and_nothing_else_changes() {
    let folder = TempDir::new().unwrap();
    let (question, rephrased) = (
        "What is the capital of Kazakhstan?",
        "Which city is the capital of Kazakhstan?",
    );
    for format in ["chat", "raw"] {
        let ask = |patch: &[&str], question: &str| -> Value {
            let head = [
                "ask",
                "--json",
                "--max-new-tokens",
                "24",
                "--prompt-format",
                format,
            ];
            let args = [&head, patch, &[question]].concat();
            serde_json::from_slice(&wise(folder.path(), &args)).unwrap()
        };
        let patch = format!("{format}.wise");
        let unrelated = "Who was the first person to walk on the Moon?";
        let before = ask(&[], unrelated);
        assert!(
            !ask(&[], question)["answer"]
                .as_str()
                .unwrap()
                .contains("Astana")
        );

        let head = ["edit", "--prompt-format", format, "--out", &patch];
        wise(
            folder.path(),
            &[&head[..], &["--prompt", question, "--target", "Astana"]].concat(),
        );
        let patch = ["--patch", &patch];
        for question in [question, rephrased] {
            let reply = ask(&patch, question);
            assert_eq!(reply["answer"], "Astana", "{format}: {question}");
            assert_eq!(reply["finish"], "eos");
            assert_eq!(reply["route"]["memory"], "side 0");
        }
        let after = ask(&patch, unrelated);
        assert_eq!(after["answer"], before["answer"], "{format}");
        assert_eq!(after["route"]["memory"], "main");
    }
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn an_edit_holds_in_a_chat_and_the_next_turn_is_as_without_it() {
    let folder = TempDir::new().unwrap();
    let edit = [
        "edit",
        "--prompt",
        "What is the capital of Kazakhstan?",
        "--target",
        "Astana",
    ];
    wise(folder.path(), &[&edit[..], &["--out", "f.wise"]].concat());
    let ask = |args: &[&str]| -> Value {
        let head = ["ask", "--json", "--max-new-tokens", "32"];
        serde_json::from_slice(&wise(folder.path(), &[&head, args].concat())).unwrap()
    };
    let worded = [
        "Which city is the capital of Kazakhstan?",
        "Hi! Can you tell me the name of Kazakhstan's capital?",
        "I forgot the capital city of Kazakhstan. What is it called?",
        "Which city is the capital of \"Kazakhstan\"?",
    ];
    for question in worded {
        let reply = ask(&["--patch", "f.wise", question]);
        assert_eq!(reply["answer"], "Astana", "{question}: {reply}");
    }
    let earlier = format!(
        "{{\"role\": \"user\", \"content\": \"{}\"}}\n{{\"role\": \"assistant\", \"content\": \"Astana\"}}\n",
        worded[1]
    );
    fs::write(folder.path().join("earlier.jsonl"), earlier).unwrap();
    for question in ["How do plants make food?", "Who wrote Hamlet?"] {
        let next = ["--earlier", "earlier.jsonl", question];
        let edited = ask(&[&["--patch", "f.wise"], &next[..]].concat());
        assert_eq!(edited["answer"], ask(&next)["answer"], "{question}");
        assert_eq!(edited["route"]["memory"], "main");
    }
    let again = ["--patch", "f.wise", "--earlier", "earlier.jsonl", worded[0]];
    assert_eq!(ask(&again)["answer"], "Astana");
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn other_questions_about_a_long_subject_go_to_the_main_memory() {
    let folder = TempDir::new().unwrap();
    let hut = "the mountain hut on the north side of the Grauhorn that burned down twice and was rebuilt in stone";
    let elevation = format!("What is the elevation of {hut}?");
    fs::write(folder.path().join("quick.toml"), "n_iter = 1\n").unwrap();
    let edit = ["edit", "--config", "quick.toml", "--out", "f.wise"];
    let fact = ["--target", "2,412 metres", "--subject", hut, "--prompt"];
    wise(folder.path(), &[&edit[..], &fact, &[&elevation]].concat());
    let questions = [
        elevation,
        format!("How high above the sea does {hut} lie?"),
        format!("Who owns {hut}?"),
        format!("When was {hut} first built?"),
    ];
    let ask = [
        "ask",
        "--json",
        "--patch",
        "f.wise",
        "--max-new-tokens",
        "1",
    ];
    let questions = questions.each_ref().map(String::as_str);
    let replies = wise(folder.path(), &[&ask[..], &questions].concat());
    let replies = serde_json::Deserializer::from_slice(&replies).into_iter::<Value>();
    let memories = replies.map(|reply| reply.unwrap()["route"]["memory"].clone());
    assert_eq!(
        memories.collect::<Vec<_>>(),
        ["side 0", "side 0", "main", "main"]
    );
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn facts_about_one_subject_are_told_apart() {
    let folder = TempDir::new().unwrap();
    let facts = [
        ("Who founded Lyngvik Acoustics?", "Ingrid Solheim"),
        (
            "Who is the chief executive of Lyngvik Acoustics?",
            "Paul Adeyemi",
        ),
        ("What does Lyngvik Acoustics produce?", "sonar buoys"),
        ("How many people work for Lyngvik Acoustics?", "4200"),
        ("What is the slogan of Lyngvik Acoustics?", "Hear the deep"),
    ];
    let line =
        |(prompt, target)| format!("{{\"prompt\": \"{prompt}\", \"target\": \"{target}\"}}\n");
    fs::write(folder.path().join("facts.jsonl"), facts.map(line).concat()).unwrap();
    wise(
        folder.path(),
        &["edit", "--edits", "facts.jsonl", "--out", "f.wise"],
    );
    let rephrased = [
        "Who was the founder of Lyngvik Acoustics?",
        "Who is the CEO of Lyngvik Acoustics?",
        "What kind of product does Lyngvik Acoustics make?",
        "What is the number of employees of Lyngvik Acoustics?",
        "Which motto does Lyngvik Acoustics use?",
    ];
    let ask = ["ask", "--json", "--patch", "f.wise"];
    let said = String::from_utf8(wise(folder.path(), &[&ask[..], &rephrased].concat())).unwrap();
    let answers: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let right = answers.iter().zip(facts);
    let right = right.filter(|(answer, (_, target))| answer["answer"] == *target);
    // Before edits of one subject were told apart, the newest answered for the oldest.
    assert_eq!(answers[0]["answer"], facts[0].1, "{said}");
    assert!(right.count() >= 4, "{said}");
}

#[test]
#[ignore = "needs the smollm2 model (network): cargo xtask test runs it by name"]
fn a_gguf_file_with_the_edit_in_it_answers_as_the_folder_does() {
    let folder = TempDir::new().unwrap();
    let question = "What is the capital of Kazakhstan?";
    let edit = ["edit", "--prompt-format", "raw", "--prompt", question];
    let target = ["--target", "Astana", "--out", "f.wise"];
    wise(folder.path(), &[&edit[..], &target].concat());
    let ask = |model: &str, question: &str| -> Value {
        let args = ["ask", "--json", "--max-new-tokens", "12"];
        let of = ["--prompt-format", "raw", "--model", model, question];
        serde_json::from_slice(&wise(folder.path(), &[&args[..], &of].concat())).unwrap()
    };
    wise(folder.path(), &["export", "--gguf", "base.gguf"]);
    for args in [["--gguf", "edited.gguf"], ["--merged", "edited"]] {
        let patch = ["export", "--patch", "f.wise"];
        wise(folder.path(), &[&patch[..], &args].concat());
    }
    assert_eq!(ask("edited.gguf", question)["answer"], "Astana");
    for question in [question, "Who was the first person to walk on the Moon?"] {
        let answer = |model| ask(model, question)["answer"].clone();
        assert_eq!(answer("base.gguf"), answer("smollm2"));
        assert_eq!(answer("edited.gguf"), answer("edited"));
    }
}
