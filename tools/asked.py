"""Questions, and what wise answers."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

PROMPTS = Path(__file__).parent.parent / "bindings/wise_hf/tests/prompts.jsonl"


def parser(description: str) -> argparse.ArgumentParser:
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--wise", type=Path, default=Path("wise"), help="the wise binary [default: the one in PATH]")
    arguments.add_argument("--prompts", type=Path, default=PROMPTS, help="JSON lines with a `prompt` each")
    arguments.add_argument("--tokens", type=int, default=24, help="most tokens of an answer [default: 24]")
    return arguments


def prompts(path: Path) -> list[str]:
    return [json.loads(line)["prompt"] for line in path.read_text().splitlines() if line.strip()]


def wise_answers(wise: Path, model: Path, questions: list[str], tokens: int) -> list[str]:
    """Greedy answers to bare prompts."""
    options = ["--json", "--model", model, "--prompt-format", "raw", "--max-new-tokens", tokens]
    command = [str(part) for part in [wise, "ask", *options, *questions]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"error: {command[0]} ask failed: {done.stderr.strip()}")
    return [json.loads(line)["answer"] for line in done.stdout.splitlines()]


def transformers_answers(model, tokenizer, questions: list[str], tokens: int) -> list[str]:
    """Greedy answers to bare prompts, one by one."""
    import torch

    answers = []
    for question in questions:
        inputs = tokenizer(question, return_tensors="pt")
        eos = model.generation_config.eos_token_id
        pad = eos[0] if isinstance(eos, list) else eos
        with torch.no_grad():
            output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False, pad_token_id=pad)
        answer = output[0, inputs["input_ids"].shape[1] :]
        answers.append(tokenizer.decode(answer, skip_special_tokens=True).strip())
    return answers


def same(what: str, questions: list[str], got: list[str], expected: list[str]) -> int:
    """Says how many answers are the same, and shows those that are not."""
    differ = [triple for triple in zip(questions, got, expected) if triple[1] != triple[2]]
    for question, answer, other in differ:
        print(f"  {question!r}: {answer!r}, wise {other!r}")
    print(f"{what}: {len(questions) - len(differ)} of {len(questions)} answers are those of wise")
    return len(questions) - len(differ)
