//! `wise patch diff`, `stack`, `compact` and `sign` on a tiny model.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{Bench, data, facts, fails};
use serde_json::{Value, json};
use wise_patch::Patch;

/// The key pair of RFC 8410, section 10.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

/// A patch of these facts, two to a shard.
fn patched(bench: &Bench, facts: &str, out: &str) {
    bench.write("facts.jsonl", facts);
    bench.write("small.toml", "n_iter = 3\nsave_freq = 2\n");
    let edit = [
        "--config",
        "small.toml",
        "--edits",
        "facts.jsonl",
        "--out",
        out,
    ];
    bench.wise("edit", &edit).assert().success();
}

fn load(bench: &Bench, name: &str) -> Patch {
    Patch::load(&bench.path(name)).unwrap()
}

/// What answers a question and how.
fn asked(bench: &Bench, patch: &str, question: &str) -> (Value, Value) {
    let ask = [
        "--patch",
        patch,
        "--trace",
        "--max-new-tokens",
        "4",
        "--json",
        question,
    ];
    let assert = bench.wise("ask", &ask).assert().success();
    let answer: Value = serde_json::from_slice(&assert.get_output().stdout).unwrap();
    (answer["answer"].clone(), answer["route"]["memory"].clone())
}

#[test]
fn a_patch_written_edit_by_edit_is_that_of_its_editor() {
    let bench = Bench::new();
    let again = facts(1).replace("Land", "Sea");
    patched(&bench, &(facts(5) + &again), "facts.wise");
    let folder = bench.path("model");
    let device = wise_model::DeviceName::Cpu.open().unwrap();
    let files = wise_model::ModelFiles {
        converted: None,
        ..wise_model::open(folder.to_str().unwrap(), &mut |_| {}).unwrap()
    };
    let model = wise_model::Model::load(files, &device, &mut |_| {}).unwrap();
    let mut patch = load(&bench, "facts.wise");
    patch.manifest.model.name = model.name().to_owned();
    let editor = patch.editor(model.into()).unwrap();
    let whole = Patch::from_editor(&editor).unwrap();
    assert!(whole.with_provenance(patch.manifest.provenance.clone()) == patch);
}

#[test]
fn who_asked_for_an_edit_and_when_stays_with_it() {
    let bench = Bench::new();
    let one = |target: &str, said: &[&str]| {
        let mut edit = bench.edit(&["--prompt", "a", "--target", target]);
        edit.args(said).assert().success();
    };
    one(
        "b",
        &["--out", "a.wise", "--by", "Ada", "--note", "the gazette"],
    );
    one("c", &["--out", "b.wise"]);
    let shown = |patch: &str, id: &str| {
        let shown = data(&mut bench.patch(&["show", patch, id]));
        ["when", "by", "note"].map(|key| shown[key].clone())
    };
    let ada = json!(["2025-11-25T21:16:00Z", "Ada", "the gazette"]);
    assert_eq!(json!(shown("a.wise", "1")), ada);
    assert_eq!(
        json!(shown("b.wise", "1")),
        json!(["2025-11-25T21:16:00Z", null, null])
    );

    let more = [
        "--prompt", "d", "--target", "e", "--patch", "a.wise", "--by", "Bob",
    ];
    bench.wise("edit", &more).assert().success();
    assert_eq!(json!(shown("a.wise", "1")), ada);
    assert_eq!(shown("a.wise", "2")[1], json!("Bob"));
    let stack = [
        "stack",
        "b.wise",
        "a.wise",
        "--on-conflict",
        "last",
        "--out",
        "all.wise",
    ];
    bench.patch(&stack).assert().success();
    assert_eq!(json!(shown("all.wise", "2")), ada);
    let undo = ["undo", "--model", "model", "a.wise", "2"];
    bench.patch(&undo).assert().success();
    assert_eq!(load(&bench, "a.wise").manifest.provenance.len(), 1);
}

#[test]
fn a_patch_that_no_editor_writes_is_refused() {
    type Change = fn(&mut wise_patch::Manifest);
    let bench = Bench::new();
    patched(&bench, &facts(3), "facts.wise");
    let changes: [(Change, &str); 5] = [
        (|manifest| manifest.config.save_freq = 0, "save_freq"),
        (
            |manifest| manifest.shards[1].index = 2,
            "a shard 2, expected less than 2",
        ),
        (
            |manifest| manifest.shards.swap(0, 1),
            "order of their indices",
        ),
        (|manifest| manifest.shards[0].edits[0].id = 2, "given twice"),
        (
            |manifest| manifest.undone.push(usize::MAX),
            "expected at most",
        ),
    ];
    for (change, said) in changes {
        let mut patch = load(&bench, "facts.wise");
        change(&mut patch.manifest);
        patch.save(&bench.path("bad.wise")).unwrap();
        let stack = ["stack", "bad.wise", "bad.wise", "--out", "all.wise"];
        fails(
            &mut bench.patch(&stack),
            &["bad.wise is not a valid patch", said],
        );
    }
}

#[test]
fn what_differs_is_shown() {
    let bench = Bench::new();
    patched(&bench, &facts(3), "a.wise");
    let others = facts(2).replace("Land 1", "Sea 1") + &facts(5)[facts(4).len()..];
    patched(&bench, &others, "b.wise");
    let difference = data(&mut bench.patch(&["diff", "a.wise", "b.wise"]));
    let prompts = |edits: &Value| -> Vec<String> {
        let edits = edits.as_array().unwrap().iter();
        edits
            .map(|edit| edit["prompt"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(prompts(&difference["only_a"]), ["Where is town 2?"]);
    assert_eq!(prompts(&difference["only_b"]), ["Where is town 4?"]);
    let [a, b] = &difference["changed"][0].as_array().unwrap()[..] else {
        panic!("{difference}");
    };
    assert_eq!(
        (&a["target"], &b["target"]),
        (&json!("Land 1"), &json!("Sea 1"))
    );
    assert_eq!(
        (&difference["same"], &difference["shards"]),
        (&json!(1), &json!([0, 1]))
    );
    assert_eq!(difference["settings"], json!([]));

    let itself = data(&mut bench.patch(&["diff", "a.wise", "a.wise"]));
    assert_eq!(
        (&itself["same"], &itself["shards"]),
        (&json!(3), &json!([]))
    );
}

#[test]
fn stacked_patches_answer_as_each_does() {
    let bench = Bench::new();
    patched(&bench, &facts(3), "a.wise");
    let theirs = facts(5).replace("town", "isle");
    patched(&bench, &theirs, "b.wise");
    let stacked = data(&mut bench.patch(&["stack", "a.wise", "b.wise", "--out", "all.wise"]));
    assert_eq!(
        (&stacked["edits"], &stacked["shards"]),
        (&json!(8), &json!(5))
    );
    for (question, own, memory) in [
        ("Where is town 0?", "a.wise", 0),
        ("Where is town 2?", "a.wise", 1),
        ("Where is isle 1?", "b.wise", 2),
        ("Where is isle 4?", "b.wise", 4),
    ] {
        let (answer, route) = asked(&bench, "all.wise", question);
        assert_eq!(answer, asked(&bench, own, question).0, "{question}");
        assert_eq!(route, json!(format!("side {memory}")), "{question}");
    }

    // A shard is trained anew in the subspace it has.
    let undo = [
        "undo",
        "--model",
        "model",
        "all.wise",
        "5",
        "--out",
        "less.wise",
    ];
    bench.patch(&undo).assert().success();
    let (all, less) = (
        load(&bench, "all.wise").manifest,
        load(&bench, "less.wise").manifest,
    );
    let masks = |manifest: &wise_patch::Manifest| -> Vec<_> {
        manifest.shards.iter().map(|shard| shard.mask).collect()
    };
    assert_eq!(masks(&all), masks(&less));
    // Ids count on, and the place that the first patch has left is the next to be given.
    let more = ["--prompt", "a", "--target", "b", "--patch", "all.wise"];
    bench.wise("edit", &more).assert().success();
    let manifest = load(&bench, "all.wise").manifest;
    let (shard, applied) = manifest.edits().pop().unwrap();
    assert_eq!((applied.id, shard.index), (9, 1));
}

#[test]
fn memories_that_stand_apart_are_not_stacked_into_one() {
    let bench = Bench::new();
    let stack = |settings: &str, count: usize| {
        bench.write("facts.jsonl", facts(count));
        bench.write(
            "apart.toml",
            format!("n_iter = 1\nsave_freq = 2\n{settings}\n"),
        );
        let edit = ["--config", "apart.toml", "--edits", "facts.jsonl", "--out"];
        let edit = |out: &str| bench.wise("edit", &[&edit[..], &[out, "--force"]].concat());
        edit("a.wise").assert().success();
        bench.write("facts.jsonl", facts(count).replace("town", "isle"));
        edit("b.wise").assert().success();
        bench.patch(&["stack", "a.wise", "b.wise", "--out", "all.wise", "--force"])
    };
    let disjoint = "merge_freq = 4\nmask_overlap = \"disjoint\"";
    fails(&mut stack(disjoint, 4), &["disjoint"]);
    fails(&mut stack("merge_freq = 4", 3), &["the 4 that are merged"]);
    stack("merge_freq = 4", 4).assert().success();
}

#[test]
fn patches_that_disagree_are_stacked_on_request() {
    let bench = Bench::new();
    patched(&bench, &facts(2), "a.wise");
    patched(&bench, &facts(2).replace("Land 1", "Sea 1"), "b.wise");
    let stack = ["stack", "a.wise", "b.wise", "--out", "all.wise"];
    fails(
        &mut bench.patch(&stack),
        &[
            "disagree on \"Where is town 1?\"",
            "\"Sea 1\" in patch 2",
            "--on-conflict",
        ],
    );
    assert!(!bench.path("all.wise").exists());

    for (whose, own) in [("first", "a.wise"), ("last", "b.wise")] {
        let mut stack = stack.to_vec();
        stack.extend(["--force", "--on-conflict", whose]);
        let stacked = data(&mut bench.patch(&stack));
        // On town 0 they agree.
        assert_eq!(
            (&stacked["edits"], &stacked["left_out"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(stacked["conflicts"].as_array().unwrap().len(), 1);
        let question = "Where is town 1?";
        assert_eq!(
            asked(&bench, "all.wise", question).0,
            asked(&bench, own, question).0
        );
    }
}

#[test]
fn an_edit_that_the_router_cannot_forget_is_not_left_out() {
    let bench = Bench::new();
    bench.write("merge.toml", "n_iter = 3\nsave_freq = 2\nmerge_freq = 4\n");
    for out in ["a.wise", "b.wise"] {
        let edit = ["--prompt", "a", "--target", "b", "--out", out];
        let mut command = bench.wise("edit", &["--config", "merge.toml"]);
        command.args(edit).assert().success();
    }
    let stack = ["stack", "a.wise", "b.wise", "--out", "all.wise"];
    fails(&mut bench.patch(&stack), &["they share prompts", "hint: "]);
    assert!(!bench.path("all.wise").exists());
}

#[test]
fn patches_of_other_models_and_settings_are_not_stacked() {
    let bench = Bench::new();
    patched(&bench, &facts(1), "a.wise");
    let edit = ["--prompt", "a", "--target", "b", "--out", "b.wise"];
    bench.edit(&edit).assert().success();
    let stack = ["stack", "a.wise", "b.wise", "--out", "all.wise"];
    fails(
        &mut bench.patch(&stack),
        &["save_freq 50, expected 2", "hint: "],
    );
    bench.write("model/model.safetensors", common::weights(0.9));
    patched(&bench, &facts(1).replace("town", "isle"), "c.wise");
    let stack = ["stack", "a.wise", "c.wise", "--out", "all.wise"];
    fails(
        &mut bench.patch(&stack),
        &["patch 2 differs from the first: model_id"],
    );
}

#[test]
fn a_shard_that_is_not_filled_again_is_full_with_a_fact_corrected_twice() {
    let bench = Bench::new();
    bench.write("facts.jsonl", [facts(1), facts(1), facts(2)].concat());
    bench.write("paper.toml", "n_iter = 1\nsave_freq = 2\n");
    let edit = ["--compat", "paper", "--config", "paper.toml"];
    let edit = [
        &edit[..],
        &["--edits", "facts.jsonl", "--out", "facts.wise"],
    ]
    .concat();
    bench.wise("edit", &edit).assert().success();
    let compacted = data(&mut bench.patch(&["compact", "facts.wise"]));
    assert_eq!(
        (&compacted["shards"], &compacted["of"]),
        (&json!(2), &json!(2))
    );
}

#[test]
fn closed_shards_are_rounded_to_half_their_bytes() {
    let bench = Bench::new();
    patched(&bench, &facts(3), "facts.wise");
    let compacted = data(&mut bench.patch(&["compact", "facts.wise", "--out", "small.wise"]));
    assert_eq!(compacted["shards"], 1);
    let bytes = |name: &str, tensor: &str| {
        let file = fs::read(bench.path(name)).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        tensors.tensor(tensor).unwrap().data().to_vec()
    };
    let (whole, small) = ("facts.wise", "small.wise");
    assert_eq!(
        bytes(small, "shard.0.values").len() * 2,
        bytes(whole, "shard.0.values").len()
    );
    assert!(bytes(small, "shard.1.values") == bytes(whole, "shard.1.values"));
    let saved = compacted["bytes_before"].as_u64().unwrap() - compacted["bytes"].as_u64().unwrap();
    assert!(saved as usize >= bytes(small, "shard.0.values").len() - 8);

    // Rounding once is rounding for good.
    let again = data(&mut bench.patch(&["compact", "small.wise"]));
    assert_eq!(
        (&again["shards"], &again["bytes"]),
        (&json!(0), &compacted["bytes"])
    );
    assert!(load(&bench, small).diff(&load(&bench, whole)).shards == [0]);
}

#[test]
fn a_signature_vouches_for_all_of_a_patch() {
    let bench = Bench::new();
    patched(&bench, &facts(2), "facts.wise");
    bench.write("private.pem", PRIVATE);
    bench.write("public.pem", PUBLIC);
    let verify = ["verify", "facts.wise", "--key", "public.pem"];
    fails(
        &mut bench.patch(&verify),
        &["signed by nobody, expected ed25519:19bf44096984"],
    );
    bench
        .patch(&["sign", "facts.wise", "--key", "private.pem"])
        .assert()
        .success();
    let signed_by = data(&mut bench.patch(&verify))["signed_by"].clone();
    assert!(
        signed_by
            .as_str()
            .unwrap()
            .starts_with("ed25519:19bf44096984cdfe")
    );

    let key = bench.write(
        "other.pem",
        PUBLIC.replace("MCowBQYDK2VwAyEAGb9E", "MCowBQYDK2VwAyEAGb9F"),
    );
    let mut other = verify;
    other[3] = key.to_str().unwrap();
    bench.patch(&other).assert().code(1);
    fails(
        &mut bench.patch(&["sign", "facts.wise", "--key", "public.pem"]),
        &["public.pem does not hold a private Ed25519 key", "hint: "],
    );

    let path = bench.path("facts.wise");
    let whole = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&whole).unwrap();
    let (from, to) = metadata.info("signature").unwrap().data_offsets;
    for at in from..to {
        let mut bytes = whole.clone();
        bytes[header + at] ^= 1;
        assert!(Patch::from_bytes(&bytes, &path).is_err(), "byte {at}");
    }

    // Whoever changes it takes the signature away.
    let mut changed = load(&bench, "facts.wise");
    changed.manifest.shards[0].edits[0].edit.target = "Sea".to_owned();
    changed.save(&path).unwrap();
    fails(&mut bench.patch(&verify), &["signed by nobody"]);
}

/// A file size limit stands in for a full disk: the write fails half-way, as it would there.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_patch_as_it_was() {
    let bench = Bench::new();
    patched(&bench, &facts(2), "facts.wise");
    bench.write("private.pem", PRIVATE);
    let whole = fs::read(bench.path("facts.wise")).unwrap();
    let program = assert_cmd::cargo::cargo_bin!("wise");
    for command in [
        "patch compact facts.wise",
        "patch sign facts.wise --key private.pem",
        "patch undo --model model facts.wise 1",
        "edit --model model --prompt a --target b --patch facts.wise",
    ] {
        let script = format!(
            "trap '' XFSZ; ulimit -f 1; exec '{}' {command}",
            program.display()
        );
        let mut shell = assert_cmd::Command::new("bash");
        shell.args(["-c", &script]).current_dir(bench.folder.path());
        shell.env("WISE_CACHE", "/dev/null/cache");
        fails(&mut shell, &["cannot save facts.wise", "has room"]);
        assert!(
            fs::read(bench.path("facts.wise")).unwrap() == whole,
            "{command}"
        );
    }
}
