"""The same answers as `wise ask`, from the same patch, in transformers.

Needs the wise binary: `WISE=../../target/debug/wise python -m pytest`. `WISE_MODEL` names another model.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from wise_hf import EditedModel, WiseError, WrongModel

WISE = os.environ.get("WISE")
MODEL = os.environ.get("WISE_MODEL", "smollm2")
HERE = Path(__file__).parent
TOKENS = 24
PROMPTS = [json.loads(line) for line in (HERE / "prompts.jsonl").read_text().splitlines()]

pytestmark = pytest.mark.skipif(not WISE, reason="WISE does not name the wise binary")


def wise(*arguments) -> str:
    done = subprocess.run([str(Path(WISE).resolve()), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(patch: Path, texts: list[str], *options) -> list[dict]:
    asked = ["--model", MODEL, "--patch", patch, "--max-new-tokens", TOKENS, *options, *texts]
    return [json.loads(line) for line in wise("ask", "--json", *asked).splitlines()]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("wise")


@pytest.fixture(scope="session")
def base(folder):
    base = folder / "base"
    wise("export", "--model", MODEL, "--base", base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), tokenizer


def needs_template(base, prompt_format: str) -> None:
    if prompt_format == "chat" and base[1].chat_template is None:
        pytest.skip(f"{MODEL} has no chat template")


def patch(folder: Path, prompt_format: str) -> Path:
    path = folder / f"{prompt_format}.wise"
    if not path.exists():
        # Small shards, so that there are several memories.
        config = folder / "config.toml"
        config.write_text("save_freq = 4\n")
        options = ["--prompt-format", prompt_format, "--config", config, "--out", path]
        wise("edit", "--model", MODEL, "--edits", HERE / "facts.jsonl", *options)
    return path


@pytest.mark.parametrize("prompt_format", ["raw", "chat"])
def test_answers_and_routes_are_those_of_wise(folder, base, prompt_format):
    needs_template(base, prompt_format)
    path = patch(folder, prompt_format)
    texts = [prompt["prompt"] for prompt in PROMPTS]
    expected = ask(path, texts)
    edited = EditedModel(*base, path)
    try:
        got = []
        for first in range(0, len(texts), 8):
            got += edited.generate(texts[first : first + 8], max_new_tokens=TOKENS)
    finally:
        edited.detach()
    memories = [f"side {a.route.memory}" if a.route.memory is not None else "main" for a in got]
    differ = [
        (prompt["prompt"], (e["answer"], e["finish"], e["route"]["memory"]), (a.text, a.finish, memory))
        for prompt, e, a, memory in zip(PROMPTS, expected, got, memories)
        if (a.text, a.finish, memory) != (e["answer"], e["finish"], e["route"]["memory"])
    ]
    routed = sum(memory != "main" for memory in memories)
    print(f"\n{prompt_format}: {len(texts) - len(differ)} of {len(texts)} the same, {routed} by a side memory")
    assert len({memory for memory in memories}) >= 3, memories
    assert not differ


def test_in_a_chat_the_last_question_decides(folder, base):
    needs_template(base, "chat")
    path = patch(folder, "chat")
    earlier = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "What is the capital of Kazakhstan?"},
        {"role": "assistant", "content": "Astana"},
    ]
    (folder / "earlier.jsonl").write_text("".join(json.dumps(message) + "\n" for message in earlier))
    texts = ["Who wrote Hamlet?", "Which artist painted The Night Watch?"]
    expected = ask(path, texts, "--earlier", folder / "earlier.jsonl")
    edited = EditedModel(*base, path)
    try:
        got = edited.generate([[*earlier, {"role": "user", "content": text}] for text in texts], max_new_tokens=TOKENS)
    finally:
        edited.detach()
    assert [answer.text for answer in got] == [reply["answer"] for reply in expected]
    assert got[0].route.memory is None and got[1].route.memory is not None


def test_the_model_is_what_it_was_outside_and_afterwards(folder, base):
    model, tokenizer = base
    inputs = tokenizer("What is the capital of Kazakhstan?", return_tensors="pt")
    with torch.no_grad():
        before = model(**inputs).logits
        edited = EditedModel(model, tokenizer, patch(folder, "raw"))
        assert torch.equal(model(**inputs).logits, before)
        routes = edited.route(["What is the capital of Kazakhstan?"])
        with edited.answering(routes):
            inside = model(**inputs).logits
            with pytest.raises(WiseError, match="got 1 sequences, expected a multiple of 2"), edited.answering(routes * 2):
                model(**inputs)
        assert not torch.equal(inside, before)
        edited.detach()
        with edited.answering(routes):
            assert torch.equal(model(**inputs).logits, before)


def test_several_answers_to_a_prompt_come_from_its_memory(folder, base):
    edited = EditedModel(*base, patch(folder, "raw"))
    try:
        texts = ["What is the capital of Kazakhstan?", "What do bees make?"]
        answers = edited.generate(texts, max_new_tokens=8, num_beams=2, num_return_sequences=2)
    finally:
        edited.detach()
    assert [answer.route.memory is None for answer in answers] == [False, False, True, True]
    assert answers[0].text == "Astana"


def test_another_model_is_refused(folder, base):
    model, tokenizer = base
    path = patch(folder, "raw")
    norm = model.get_decoder().norm.weight
    with torch.no_grad():
        norm[0] += 0.5
        try:
            with pytest.raises(WrongModel, match="the patch was made for"):
                EditedModel(model, tokenizer, path)
        finally:
            norm[0] -= 0.5
    EditedModel(model, tokenizer, path).detach()
