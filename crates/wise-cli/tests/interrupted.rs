//! `wise edit` stopped half-way, on a tiny model.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Bench, facts, wise};
use wise_patch::Patch;

const EDITS: usize = 50;
const KILLS: usize = 100;

/// Pauses drawn evenly up to a limit.
struct Pauses(u32);

impl Pauses {
    fn draw(&mut self, below: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        below.mul_f64(f64::from(self.0 >> 8) / f64::from(1 << 24))
    }
}

/// Starts `wise` and kills it after the pause unless it is done by then: how many edits it had reported as made, and whether
/// it ended well.
fn run_and_kill(bench: &Bench, args: &[&str], pause: Duration) -> (usize, bool) {
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("wise"))
        .current_dir(bench.folder.path())
        .env("WISE_CACHE", "/dev/null/cache")
        .env("SOURCE_DATE_EPOCH", "1764105360")
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(pause);
    child.kill().unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    let reported = said
        .lines()
        .filter(|line| line.contains("edits made"))
        .count();
    (reported, status.success())
}

#[test]
fn killed_at_a_hundred_moments_nothing_that_was_reported_is_lost() {
    let bench = Bench::new();
    bench.write("facts.jsonl", facts(EDITS));
    bench.write("small.toml", "n_iter = 3\nsave_freq = 20\n");
    let setup = [
        "--model",
        "model",
        "--config",
        "small.toml",
        "--edits",
        "facts.jsonl",
    ];
    let begin = ["edit", "--out", "facts.wise"];
    let begin: Vec<&str> = begin.into_iter().chain(setup).collect();
    let resume = [
        "edit",
        "--model",
        "model",
        "--patch",
        "facts.wise",
        "--resume",
    ];
    wise()
        .current_dir(bench.folder.path())
        .args(["edit", "--out", "whole.wise"])
        .args(setup)
        .assert()
        .success();
    let whole = fs::read(bench.path("whole.wise")).unwrap();
    let patch = bench.path("facts.wise");

    let (mut pauses, mut kills, mut runs) = (Pauses(1), 0, 0);
    while kills < KILLS {
        let before = if patch.exists() {
            Patch::load(&patch).unwrap().manifest.edits().len()
        } else {
            0
        };
        let args = if patch.exists() { &resume[..] } else { &begin };
        let (reported, ended) = run_and_kill(&bench, args, pauses.draw(Duration::from_millis(250)));
        kills += usize::from(!ended);
        let Ok(found) = Patch::load(&patch) else {
            assert!(!patch.exists(), "a patch that is there is whole");
            continue;
        };
        let found = found.manifest;
        let made = found.edits().len();
        assert!(
            made >= before + reported,
            "{made} made, {before} before and {reported} since"
        );
        assert_eq!(made + found.planned.len(), EDITS);
        if found.planned.is_empty() {
            assert!(fs::read(&patch).unwrap() == whole, "after {kills} kills");
            fs::remove_file(&patch).unwrap();
            runs += 1;
        }
    }
    while !patch.exists() || !Patch::load(&patch).unwrap().manifest.planned.is_empty() {
        let args = if patch.exists() { &resume[..] } else { &begin };
        run_and_kill(&bench, args, Duration::from_mins(1));
    }
    assert!(fs::read(&patch).unwrap() == whole);
    let entries = fs::read_dir(bench.folder.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let unfinished: Vec<String> = names.filter(|name| name.contains("unfinished")).collect();
    assert!(unfinished.is_empty(), "{unfinished:?}");
    println!("{kills} kills, {runs} runs ended on the way");
}

#[test]
fn edits_that_were_not_made_are_kept_to_be_made_or_dropped() {
    let bench = Bench::new();
    let too_long = format!(
        "{{\"prompt\": \"{}\", \"target\": \"b\"}}\n",
        "a ".repeat(common::CONTEXT)
    );
    bench.write(
        "facts.jsonl",
        facts(1) + &too_long + &facts(3)[facts(1).len()..],
    );
    let edit = ["--edits", "facts.jsonl", "--out", "facts.wise"];
    let stopped = bench.edit(&edit).assert().code(1);
    let said = String::from_utf8_lossy(&stopped.get_output().stderr).into_owned();
    assert!(
        said.contains("1 of 4 edits are saved") && said.contains("--resume"),
        "{said}"
    );

    let more = ["--prompt", "a", "--target", "b", "--patch", "facts.wise"];
    let refused = bench.wise("edit", &more).assert().code(1);
    let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
    assert!(
        said.contains("not made yet: 2 to 4") && said.contains("hint: "),
        "{said}"
    );
    let ask = bench
        .wise("ask", &["--patch", "facts.wise", "Where?"])
        .assert();
    let said = String::from_utf8_lossy(&ask.success().get_output().stderr).into_owned();
    assert!(
        said.contains("note: ") && said.contains("not made yet: 2 to 4"),
        "{said}"
    );
    let list = |bench: &Bench| {
        let listed = wise()
            .current_dir(bench.folder.path())
            .args(["patch", "list", "facts.wise", "--json"])
            .assert()
            .success();
        serde_json::from_slice::<serde_json::Value>(&listed.get_output().stdout).unwrap()
    };
    let ids = |edits: &serde_json::Value| -> Vec<u64> {
        edits
            .as_array()
            .unwrap()
            .iter()
            .map(|edit| edit["id"].as_u64().unwrap())
            .collect()
    };
    let listed = list(&bench);
    assert_eq!(
        (ids(&listed["edits"]), ids(&listed["planned"])),
        (vec![1], vec![2, 3, 4])
    );

    let undo = ["patch", "undo", "--model", "model", "facts.wise", "2"];
    wise()
        .current_dir(bench.folder.path())
        .args(undo)
        .assert()
        .success();
    let resume = ["--patch", "facts.wise", "--resume"];
    bench.wise("edit", &resume).assert().success();
    let listed = list(&bench);
    assert_eq!(
        (ids(&listed["edits"]), ids(&listed["planned"])),
        (vec![1, 3, 4], vec![])
    );
    bench.wise("edit", &resume).assert().success();
}
