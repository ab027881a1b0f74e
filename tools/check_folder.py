"""Opens a folder of `wise export --base` or `--merged` with transformers and compares its greedy answers with wise's.

    python tools/check_folder.py --wise target/debug/wise smollm2-edited

Exits with 1 unless all are the same.
"""

import sys
from pathlib import Path

import torch
from asked import parser, prompts, same, transformers_answers, wise_answers
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> int:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("folder", type=Path, help="the exported folder")
    args = arguments.parse_args()
    questions = prompts(args.prompts)
    tokenizer = AutoTokenizer.from_pretrained(args.folder)
    model, loaded = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32, output_loading_info=True)
    unloaded = {kind: names for kind, names in loaded.items() if names}
    if unloaded:
        print(f"error: transformers did not load all weights: {unloaded}")
        return 1
    got = transformers_answers(model, tokenizer, questions, args.tokens)
    expected = wise_answers(args.wise, args.folder, questions, args.tokens)
    return int(same("transformers", questions, got, expected) < len(questions))


if __name__ == "__main__":
    sys.exit(main())
