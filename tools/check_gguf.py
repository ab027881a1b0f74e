"""Opens a file of `wise export --gguf` with llama.cpp and compares its greedy answers with wise's.

    python tools/check_gguf.py --wise target/debug/wise edited.gguf --original base.gguf --merged smollm2-edited

With --original, all metadata and tensors but one have to be the original's byte for byte, and with --merged, a folder of
`wise export --merged`, that one has to be its matrix. llama.cpp rounds activations to 8 bits where weights are quantised
and wise does not, so answers may differ: --least says how many of them, as a share, have to be the same. Exits with 1
if something is not as it has to be.
"""

import sys
from pathlib import Path

import numpy as np
from asked import parser, prompts, same, wise_answers
from gguf import GGUFReader
from llama_cpp import Llama


def replaced(file: Path, original: Path) -> list[str]:
    """Names of the tensors that are not the original's."""
    new, old = GGUFReader(file), GGUFReader(original)
    fields = [{name: field.contents() for name, field in reader.fields.items()} for reader in (new, old)]
    if fields[0] != fields[1]:
        sys.exit("error: the metadata is not the original's")
    tensors = {tensor.name: tensor for tensor in old.tensors}
    if [tensor.name for tensor in new.tensors] != [tensor.name for tensor in old.tensors]:
        sys.exit("error: the tensors are not those of the original")

    def differs(tensor) -> bool:
        other = tensors[tensor.name]
        return tensor.tensor_type != other.tensor_type or not np.array_equal(tensor.data, other.data)

    return [tensor.name for tensor in new.tensors if differs(tensor)]


def is_merged(file: Path, name: str, merged: Path) -> bool:
    """Whether a tensor is the matrix of the folder."""
    from safetensors.numpy import load_file

    tensor = next(tensor for tensor in GGUFReader(file).tensors if tensor.name == name)
    layer = name.split(".")[1]
    matrix = load_file(merged / "model.safetensors")[f"model.layers.{layer}.mlp.down_proj.weight"]
    print(f"{name}: {tensor.tensor_type.name}, {list(matrix.shape)}")
    return tensor.data.shape == matrix.shape and np.array_equal(tensor.data, matrix)


def llama_answers(file: Path, questions: list[str], tokens: int) -> list[str]:
    """Greedy answers to bare prompts."""
    model = Llama(str(file), n_ctx=512, verbose=False)
    answers = []
    for question in questions:
        model.reset()
        completion = model.create_completion(question, max_tokens=tokens, temperature=0.0, repeat_penalty=1.0)
        answers.append(completion["choices"][0]["text"].strip())
    return answers


def main() -> int:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--original", type=Path)
    arguments.add_argument("--merged", type=Path)
    arguments.add_argument("--least", type=float, default=1.0, help="share of answers [default: 1]")
    args = arguments.parse_args()
    failed = False
    if args.original:
        names = replaced(args.file, args.original)
        print(f"replaced: {names or 'nothing'}")
        failed = len(names) != int(args.merged is not None)
        if args.merged and not failed:
            failed = not is_merged(args.file, names[0], args.merged)
    questions = prompts(args.prompts)
    got = llama_answers(args.file, questions, args.tokens)
    expected = wise_answers(args.wise, args.file, questions, args.tokens)
    share = same("llama.cpp", questions, got, expected) / len(questions)
    return int(failed or share < args.least)


if __name__ == "__main__":
    sys.exit(main())
