"""Opens an adapter of `wise export --lora` with PEFT and compares its greedy answers with wise's on the same weights.

    python tools/check_lora.py --wise target/debug/wise smollm2-f32 smollm2-lora smollm2-edited

BASE is a folder of `wise export --base`, MERGED one of `wise export --merged` with the same patch. Exits with 1 unless
the adapter changes one matrix alone, by no more than its rank's share of the change, and all answers are the same.
"""

import sys
import tempfile
from pathlib import Path

import torch
from asked import parser, prompts, same, transformers_answers, wise_answers
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer


def load(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def main() -> int:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("base", type=Path)
    arguments.add_argument("lora", type=Path)
    arguments.add_argument("merged", type=Path)
    arguments.add_argument("--kept", type=float, help="share of the change's energy that wise said it keeps")
    args = arguments.parse_args()
    questions = prompts(args.prompts)
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    adapted = PeftModel.from_pretrained(load(args.base), args.lora)
    modules = [name for name, module in adapted.named_modules() if hasattr(module, "lora_A")]
    got = transformers_answers(adapted, tokenizer, questions, args.tokens)
    print(f"adapted: {modules}")

    own, edited = dict(load(args.base).named_parameters()), dict(load(args.merged).named_parameters())
    model = adapted.merge_and_unload()
    with torch.no_grad():
        changed = [name for name, values in model.named_parameters() if not torch.equal(values, own[name])]
        name = changed[0]
        change = (edited[name] - own[name]).double()
        lost = (edited[name] - dict(model.named_parameters())[name]).double()
        kept = 1 - float((lost**2).sum() / (change**2).sum())
    print(f"changed: {changed}; {100 * kept:.1f} % of the merged change's energy")
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        expected = wise_answers(args.wise, Path(folder), questions, args.tokens)
    same_answers = same("PEFT", questions, got, expected)
    merged = wise_answers(args.wise, args.merged, questions, args.tokens)
    print(f"of the merged model's answers this rank gives {sum(a == b for a, b in zip(got, merged))} of {len(questions)}")

    failed = len(modules) != 1 or len(changed) != 1 or same_answers < len(questions)
    if args.kept is not None and abs(kept - args.kept) > 1e-3:
        print(f"error: wise said that {args.kept} is kept, got {kept}")
        failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
