"""Makes a tiny random model of each decoder family, with the logits that transformers computes for it.

    python -m venv VENV && VENV/bin/pip install -r tools/requirements.txt
    VENV/bin/python tools/make_tiny_models.py crates/wise-model/tests/tiny [FAMILY...]

Each folder is a model as transformers writes it, with a token per printable ASCII character, and `golden.json`:
token ids of several sequences, and the logits after each of their tokens, computed in f32 on the CPU.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

VOCABULARY = 96
SHARED = dict(
    vocab_size=VOCABULARY,
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=256,
    bos_token_id=None,
    eos_token_id=0,
    pad_token_id=None,
)
GPT = dict(
    vocab_size=VOCABULARY,
    n_embd=16,
    n_inner=24,
    n_layer=3,
    n_head=2,
    n_positions=256,
    bos_token_id=None,
    eos_token_id=0,
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=10000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)

# What a family can differ in from its relatives is switched on where the sizes allow it.
FAMILIES = {
    "llama": lambda: transformers.LlamaConfig(**SHARED, tie_word_embeddings=False),
    "llama3": lambda: transformers.LlamaConfig(**SHARED, head_dim=16, rope_parameters=LLAMA3, tie_word_embeddings=True),
    "mistral": lambda: transformers.MistralConfig(**SHARED, sliding_window=4, tie_word_embeddings=False),
    "qwen2": lambda: transformers.Qwen2Config(**SHARED, tie_word_embeddings=True),
    "gemma3": lambda: transformers.Gemma3TextConfig(
        **SHARED | dict(num_key_value_heads=1),
        head_dim=8,
        query_pre_attn_scalar=5,
        sliding_window=3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "qwen3": lambda: transformers.Qwen3Config(**SHARED, head_dim=8, tie_word_embeddings=False),
    "gpt2": lambda: transformers.GPT2Config(**GPT),
    "gptj": lambda: transformers.GPTJConfig(**GPT, rotary_dim=4),
}


def randomize(model, generator):
    """Weights large enough to matter, as numbers that bf16 holds exactly."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            if weight.dim() == 1:
                # Norms and biases; what a norm's weights stand around is up to the family.
                noise = weight + 0.3 * noise
            elif "embed" in name or "wte" in name or "wpe" in name:
                noise = 0.5 * noise
            else:
                noise = noise * (1.5 / weight.shape[-1] ** 0.5)
            weight.copy_(noise.to(torch.bfloat16).float())


def tokenizer():
    alphabet = sorted(c for c in pre_tokenizers.ByteLevel.alphabet() if c.isascii()) + ["Ġ"]
    vocabulary = {"<|end|>": 0} | {c: i + 1 for i, c in enumerate(alphabet)}
    assert len(vocabulary) == VOCABULARY
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer


def golden(model, generator):
    rows = [torch.randint(1, VOCABULARY, (length,), generator=generator) for length in (11, 1, 6)]
    with torch.no_grad():
        logits = [model(row[None]).logits[0] for row in rows]
    return {
        "rows": [row.tolist() for row in rows],
        "logits": [[[float(f"{x:.7g}") for x in token] for token in row.tolist()] for row in logits],
    }


def make(family, folder):
    seed = sum(family.encode())
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    config = FAMILIES[family]()
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    randomize(model, generator)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(golden(model, generator), separators=(",", ":"))
    (folder / "golden.json").write_text(text + "\n")
    tokenizer().save(str(folder / "tokenizer.json"), pretty=False)
    model.to(torch.bfloat16).save_pretrained(folder)
    print(family, sum(file.stat().st_size for file in folder.iterdir()), "bytes")


def main():
    target, families = Path(sys.argv[1]), sys.argv[2:] or list(FAMILIES)
    for family in families:
        make(family, target / family)


if __name__ == "__main__":
    main()
