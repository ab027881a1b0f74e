"""Writes a file of the tensors that EasyEdit's WISE saves, and prints its size beside that of patches.

    python tools/reference_save.py --hidden 576 --ffn 1536 facts.wise

EasyEdit (commit 14cea82) saves with torch.save: the matrix it trains, the matrix of the current memory and the original
one, a merged memory for every 1000 edits (`merge_freq`), all in f32, and the current mask in int64. The values are random;
the size does not depend on them. Its edit histories come on top.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch


def size_of_save(hidden: int, ffn: int, memories: int) -> int:
    matrix = lambda: torch.rand(hidden, ffn)
    state = {
        "new_weight": matrix(),
        "memory_weight": matrix(),
        "original_weight": matrix(),
        "memories": [matrix() for _ in range(memories)],
        "mask": torch.ones(hidden, ffn, dtype=torch.int64),
        "min_activation": [torch.rand(()) for _ in range(memories + 1)],
    }
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        torch.save(state, file.name)
        return Path(file.name).stat().st_size


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("patches", type=Path, nargs="*")
    arguments.add_argument("--hidden", type=int, default=576, help="width of the model [default: 576, smollm2]")
    arguments.add_argument("--ffn", type=int, default=1536, help="width of its network [default: 1536]")
    args = arguments.parse_args()
    for edits, memories in [("1 to 999", 0), ("1000", 1), ("3000", 3)]:
        print(f"EasyEdit, {edits} edits: {size_of_save(args.hidden, args.ffn, memories) / 1e6:.2f} MB")
    for patch in args.patches:
        print(f"{patch}: {patch.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
