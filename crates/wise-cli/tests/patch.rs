//! `wise patch` on a tiny model: a patch over its life.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{Bench, data, facts, fails};
use wise_patch::Patch;

/// A patch of `count` facts, two to a shard.
fn patched(bench: &Bench, count: usize, out: &str) {
    bench.write("facts.jsonl", facts(count));
    edit(bench, &["--edits", "facts.jsonl", "--out", out])
        .assert()
        .success();
}

fn edit(bench: &Bench, args: &[&str]) -> assert_cmd::Command {
    bench.write("small.toml", "n_iter = 3\nsave_freq = 2\n");
    let mut command = bench.wise("edit", &["--config", "small.toml"]);
    command.args(args);
    command
}

fn undo(bench: &Bench, args: &[&str]) -> assert_cmd::Command {
    let mut command = bench.patch(&["undo", "--model", "model"]);
    command.args(args);
    command
}

/// A tensor's bytes.
fn tensor(path: &std::path::Path, name: &str) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    tensors.tensor(name).unwrap().data().to_vec()
}

#[test]
fn edits_are_listed_and_shown_without_a_model() {
    let bench = Bench::new();
    let again =
        "{\"prompt\": \"Where is town 0?\", \"target\": \"Sea\", \"subject\": \"town 0\"}\n";
    bench.write("facts.jsonl", facts(3) + again);
    edit(&bench, &["--edits", "facts.jsonl", "--out", "facts.wise"])
        .assert()
        .success();
    fs::remove_dir_all(bench.path("model")).unwrap();

    let listed = data(&mut bench.patch(&["list", "facts.wise"]));
    let edits = listed["edits"].as_array().unwrap();
    let shards: Vec<_> = edits.iter().map(|edit| edit["shard"].as_u64()).collect();
    assert_eq!(shards, [Some(0), Some(0), Some(1), Some(0)]);
    let superseded: Vec<_> = edits
        .iter()
        .map(|edit| edit["superseded"] == true)
        .collect();
    assert_eq!(superseded, [true, false, false, false]);
    assert_eq!(
        listed["bytes"],
        fs::metadata(bench.path("facts.wise")).unwrap().len()
    );

    let shown = data(&mut bench.patch(&["show", "facts.wise", "4"]));
    assert_eq!(
        (
            &shown["subject"],
            &shown["supersedes"],
            &shown["iterations"]
        ),
        (&"town 0".into(), &1.into(), &3.into())
    );
    assert!(shown["mask"]["seed"].is_u64() && shown["mask"]["ratio"].is_f64());
    let mut unknown = bench.patch(&["show", "facts.wise", "9"]);
    fails(&mut unknown, &["no edit 9", "1 to 4", "hint: "]);
}

#[test]
fn a_flipped_byte_is_found() {
    let bench = Bench::new();
    patched(&bench, 1, "facts.wise");
    let path = bench.path("facts.wise");
    let whole = fs::read(&path).unwrap();
    assert!(Patch::load(&path).is_ok());
    let damaged = bench.path("damaged.wise");
    let places = (0..16).chain((16..whole.len()).step_by(97));
    for at in places {
        for flip in [0x01, 0x20, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            fs::write(&damaged, bytes).unwrap();
            assert!(Patch::load(&damaged).is_err(), "byte {at} ^ {flip}");
        }
    }

    let mut bytes = whole.clone();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&whole).unwrap();
    let (from, _) = metadata.info("shard.0.values").unwrap().data_offsets;
    bytes[header + from] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let mut verify = bench.patch(&["verify", "damaged.wise"]);
    fails(&mut verify, &["tensor shard.0.values is damaged", "hint: "]);

    let text = b"Where is town 0?";
    let at = whole.windows(text.len()).position(|w| w == text).unwrap();
    let mut bytes = whole;
    bytes[at] = b'T';
    fs::write(&damaged, bytes).unwrap();
    let mut verify = bench.patch(&["verify", "damaged.wise"]);
    fails(&mut verify, &["manifest is damaged"]);
}

#[test]
fn a_patch_is_verified_with_its_model_and_refused_from_a_newer_version() {
    let bench = Bench::new();
    patched(&bench, 1, "facts.wise");
    let verify = ["verify", "facts.wise", "--model", "model"];
    assert_eq!(data(&mut bench.patch(&verify))["edits"], 1);
    bench.write("model/model.safetensors", common::weights(0.9));
    fails(&mut bench.patch(&verify), &["made for model"]);

    let mut newer = Patch::load(&bench.path("facts.wise")).unwrap();
    newer.manifest.schema += 1;
    newer.save(&bench.path("newer.wise")).unwrap();
    let mut verify = bench.patch(&["verify", "newer.wise"]);
    fails(&mut verify, &["a newer version", "hint: update wise"]);
}

#[test]
fn the_last_edit_is_taken_back_as_if_never_made() {
    let bench = Bench::new();
    patched(&bench, 3, "before.wise");
    patched(&bench, 4, "facts.wise");
    let undone = data(&mut undo(&bench, &["facts.wise", "4"]));
    assert_eq!(undone["trained_anew"], serde_json::json!([3]));
    let mut after = Patch::load(&bench.path("facts.wise")).unwrap();
    let before = Patch::load(&bench.path("before.wise")).unwrap();
    assert_eq!(
        (after.manifest.dealt, &after.manifest.undone[..]),
        (4, &[4][..])
    );
    // What is remembered of an edit taken back is its place and its id.
    after.manifest.dealt = before.manifest.dealt;
    after.manifest.undone.clear();
    assert!(after == before);
}

#[test]
fn an_edit_in_the_middle_is_taken_back() {
    let bench = Bench::new();
    patched(&bench, 5, "facts.wise");
    undo(&bench, &["facts.wise", "3", "--out", "out.wise"])
        .assert()
        .success();
    let (whole, out) = (bench.path("facts.wise"), bench.path("out.wise"));
    for name in [
        "shard.0.values",
        "shard.0.keys",
        "shard.2.values",
        "shard.2.keys",
    ] {
        assert!(tensor(&whole, name) == tensor(&out, name), "{name}");
    }
    assert!(tensor(&whole, "shard.1.values") != tensor(&out, "shard.1.values"));

    // Edit 4 alone in its shard, with the id it has.
    undo(
        &bench,
        &["facts.wise", "1", "2", "3", "5", "--out", "alone.wise"],
    )
    .assert()
    .success();
    let alone = bench.path("alone.wise");
    assert!(tensor(&alone, "shard.0.values") == tensor(&out, "shard.1.values"));

    // Edits 1 and 3 taken back one after another or at once: the same.
    undo(&bench, &["out.wise", "1"]).assert().success();
    undo(&bench, &["facts.wise", "3", "1"]).assert().success();
    assert!(fs::read(&out).unwrap() == fs::read(&whole).unwrap());
}

#[test]
fn an_earlier_edit_holds_again() {
    let bench = Bench::new();
    let again = facts(1).replace("Land", "Sea");
    bench.write("facts.jsonl", facts(1) + &again);
    let edits = ["--edits", "facts.jsonl", "--out", "facts.wise"];
    edit(&bench, &edits).assert().success();
    undo(&bench, &["facts.wise", "2"]).assert().success();
    let listed = data(&mut bench.patch(&["list", "facts.wise"]));
    assert_eq!(listed["edits"][0]["superseded"], false);
    patched(&bench, 1, "first.wise");
    let (first, undone) = (bench.path("first.wise"), bench.path("facts.wise"));
    assert!(tensor(&first, "shard.0.values") == tensor(&undone, "shard.0.values"));
}

#[test]
fn an_unknown_edit_leaves_the_patch_and_all_edits_leave_an_empty_one() {
    let bench = Bench::new();
    patched(&bench, 3, "facts.wise");
    let whole = fs::read(bench.path("facts.wise")).unwrap();
    fails(
        &mut undo(&bench, &["facts.wise", "1", "8"]),
        &["no edit 8", "1 to 3"],
    );
    assert!(fs::read(bench.path("facts.wise")).unwrap() == whole);

    undo(&bench, &["facts.wise", "1", "2", "3"])
        .assert()
        .success();
    let listed = data(&mut bench.patch(&["list", "facts.wise"]));
    assert_eq!(listed["edits"].as_array().unwrap().len(), 0);
    let ask = [
        "--patch",
        "facts.wise",
        "--max-new-tokens",
        "2",
        "Where is town 0?",
    ];
    bench.wise("ask", &ask).assert().success();
    fails(
        &mut undo(&bench, &["facts.wise", "1"]),
        &["no edit 1", "none"],
    );
}

#[test]
fn edits_made_in_two_goes_are_those_made_in_one() {
    let bench = Bench::new();
    patched(&bench, 5, "whole.wise");
    patched(&bench, 3, "facts.wise");
    let (all, first) = (facts(5), facts(3));
    bench.write("more.jsonl", &all[first.len()..]);
    let more = ["--edits", "more.jsonl", "--patch", "facts.wise"];
    bench.wise("edit", &more).assert().success();
    let (whole, facts) = (bench.path("whole.wise"), bench.path("facts.wise"));
    assert!(fs::read(whole).unwrap() == fs::read(facts).unwrap());

    let mut other = bench.wise("edit", &more);
    other.args(["--seed", "3"]).assert().code(2);
}

#[test]
fn an_id_is_never_given_twice() {
    let bench = Bench::new();
    patched(&bench, 3, "facts.wise");
    undo(&bench, &["facts.wise", "3"]).assert().success();
    let one = ["--prompt", "a", "--target", "b", "--patch", "facts.wise"];
    bench.wise("edit", &one).assert().success();
    let listed = data(&mut bench.patch(&["list", "facts.wise"]));
    assert_eq!(listed["edits"][2]["id"], 4);
    assert_eq!(listed["edits"][2]["shard"], 1);
}

#[test]
fn a_patch_is_edited_by_one_process_at_a_time() {
    let bench = Bench::new();
    patched(&bench, 1, "facts.wise");
    let held = fs::File::create(bench.path("facts.wise.lock")).unwrap();
    held.lock().unwrap();
    let one = ["--prompt", "a", "--target", "b", "--patch", "facts.wise"];
    let said = ["being edited by another process", "hint: "];
    fails(&mut bench.wise("edit", &one), &said);
    fails(&mut undo(&bench, &["facts.wise", "1"]), &said);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("facts.wise", bench.path("link.wise")).unwrap();
        fails(&mut undo(&bench, &["link.wise", "1"]), &said);
    }
    drop(held);
    bench.wise("edit", &one).assert().success();
}
