"""A transformers model that answers with a patch."""

import hashlib
import struct
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import linear

from .errors import Unsupported, WiseError, WrongModel
from .keys import f32
from .patch import Patch
from .prompt import Message, Prompt, Prompts
from .reader import TextReader
from .router import Route, Router

_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")


@dataclass(frozen=True)
class Answer:
    """A generated answer and the memory it came from."""

    text: str
    tokens: list[int]
    # "eos" if the model ended it, else "length".
    finish: str
    route: Route


class EditedModel:
    """A model with a patch beside it. The model's weights are never written.

    While routes are set (`answering`, which `generate` does by itself), a forward hook on the edited matrix lets each
    sequence of a batch be answered by its own memory; without, the model is what it was.
    """

    def __init__(self, model, tokenizer, patch: Patch | str | Path, prompt_format: str | None = None):
        """`prompt_format`, "raw" or "chat", is by default that of the patch."""
        patch = patch if isinstance(patch, Patch) else Patch.load(patch)
        self.model, self.patch = model, patch
        family = model.config.model_type
        if family not in _FAMILIES:
            raise Unsupported(f"the model is a {family}, expected one of {', '.join(_FAMILIES)}")
        config, site = patch.manifest["config"], patch.manifest["site"]
        self._site = _site(model, site)
        _check_model(model, self._site, patch)
        main = self._site.weight.detach().float().cpu().numpy()
        self._matrices = [torch.from_numpy(memory.matrix(main)) for memory in patch.memories]
        context = model.config.max_position_embeddings
        self._prompts = Prompts(tokenizer, prompt_format or config["prompt_format"], context)
        self._reader = TextReader(model.get_decoder(), patch.reader)
        relation = config["words_fit"] if patch.reader.relations is None else config["relation_fit"]
        self._router = Router(patch.memories, f32(config["subject_fit"]), f32(relation))
        # Routes are of the thread that generates.
        self._current = threading.local()
        self._hook = self._site.register_forward_hook(self._answer)

    def detach(self) -> None:
        """Takes the hook off the model."""
        self._hook.remove()

    def route(self, questions: Sequence[str | list[Message]]) -> list[Route]:
        """Which memory answers each question: a text, or a chat whose last message is the user's."""
        return [self._route(self._prompts.prompt(question)) for question in questions]

    @contextmanager
    def answering(self, routes: Sequence[Route]) -> Iterator[None]:
        """Inside, the sequences of a batch, or several per route one behind the other, are answered as routed."""
        before = getattr(self._current, "routes", None)
        self._current.routes = list(routes)
        try:
            yield
        finally:
            self._current.routes = before

    def generate(self, questions: Sequence[str | list[Message]], max_new_tokens: int = 128, **options) -> list[Answer]:
        """Answers questions side by side; `options` are those of transformers' `generate`. Greedy unless they say else."""
        if not questions:
            return []
        prompts = [self._prompts.prompt(question) for question in questions]
        routes = [self._route(prompt) for prompt in prompts]
        eos = _eos(self.model)
        longest = max(len(prompt.tokens) for prompt in prompts)
        padding = [longest - len(prompt.tokens) for prompt in prompts]
        pad = eos[0] if eos else 0
        inputs = [[pad] * n + prompt.tokens for n, prompt in zip(padding, prompts)]
        attention = [[0] * n + [1] * (longest - n) for n in padding]
        device = self.model.get_input_embeddings().weight.device
        options = {"do_sample": False, "pad_token_id": pad, **options}
        with torch.no_grad(), self.answering(routes):
            output = self.model.generate(
                input_ids=torch.tensor(inputs, device=device),
                attention_mask=torch.tensor(attention, device=device),
                max_new_tokens=max_new_tokens,
                **options,
            )
        per_route = len(output) // len(routes)
        return [
            self._as_answer(tokens[longest:].tolist(), eos, routes[index // per_route])
            for index, tokens in enumerate(output)
        ]

    def _route(self, prompt: Prompt) -> Route:
        words = self._prompts.words(prompt.scope)
        with self.answering([]):
            reading = self._reader.read(words)
            return self._router.route(reading, lambda: self._reader.question(words))

    def _as_answer(self, tokens: list[int], eos: list[int], route: Route) -> Answer:
        end = next((i for i, token in enumerate(tokens) if token in eos), None)
        tokens = tokens if end is None else tokens[:end]
        return Answer(self._prompts.answer(tokens), tokens, "length" if end is None else "eos", route)

    def _answer(self, site: torch.nn.Module, args: tuple, output: torch.Tensor) -> torch.Tensor | None:
        routes = getattr(self._current, "routes", None)
        if not routes:
            return None
        inputs = args[0]
        if len(inputs) % len(routes) != 0:
            raise WiseError(f"got {len(inputs)} sequences, expected a multiple of {len(routes)}, the routes that are set")
        each = len(inputs) // len(routes)
        memories = [route.memory for route in routes for _ in range(each)]
        answering = sorted({memory for memory in memories if memory is not None})
        if not answering:
            return None
        if answering == [memories[0]] and len(set(memories)) == 1:
            return linear(inputs, self._matrix(memories[0], inputs), site.bias)
        output = output.clone()
        for memory in answering:
            rows = [row for row, of in enumerate(memories) if of == memory]
            output[rows] = linear(inputs[rows], self._matrix(memory, inputs), site.bias)
        return output

    def _matrix(self, memory: int, like: torch.Tensor) -> torch.Tensor:
        matrix = self._matrices[memory]
        if matrix.device != like.device or matrix.dtype != like.dtype:
            matrix = self._matrices[memory] = matrix.to(like.device, like.dtype)
        return matrix


def _site(model, site: dict) -> torch.nn.Module:
    matrix, expected = site["matrix"], list(site["shape"])
    try:
        module = model.get_submodule(matrix.removesuffix(".weight"))
    except AttributeError as error:
        raise WrongModel(f"the model has no {matrix}, which the patch edits") from error
    weight = getattr(module, "weight", None)
    if not isinstance(weight, torch.Tensor) or not weight.is_floating_point() or weight.is_meta:
        raise Unsupported(f"{matrix} is quantised or offloaded, expected a plain matrix")
    if list(weight.shape) != expected:
        raise WrongModel(f"the patch's {matrix} is {expected}, got {list(weight.shape)}")
    return module


def _check_model(model, site: torch.nn.Module, patch: Patch) -> None:
    known, got = patch.manifest["model"], model_id(model, site, patch.layer)
    if got == known["model_id"]:
        return
    message = f"the patch was made for {known['name']} (model_id {known['model_id']}), got model_id {got}"
    if site.weight.dtype == torch.float32:
        raise WrongModel(message)
    warnings.warn(f"{message}: {site.weight.dtype} may have rounded its weights, so only its shape was checked", stacklevel=3)


def model_id(model, site: torch.nn.Module, layer: int) -> str:
    """What a patch names its model by: sha256 over sizes, the matrix and the final norm, as f32."""
    config = model.config
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    rope = getattr(config, "rope_parameters", None) or {}
    # Gemma's layers that see everything have their own.
    rope = rope.get("full_attention", rope)
    theta = rope.get("rope_theta") or getattr(config, "rope_theta", None) or 10000.0
    sizes = [
        config.vocab_size,
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        heads,
        getattr(config, "num_key_value_heads", None) or heads,
        head_size,
        layer,
    ]
    digest = hashlib.sha256(b"wise model id 1\n")
    digest.update(struct.pack("<8Q", *sizes))
    digest.update(struct.pack("<2f", config.rms_norm_eps, theta))
    norm = model.get_decoder().norm.weight.detach().float()
    if config.model_type == "gemma3_text":
        # Gemma's are differences from 1.
        norm = norm + 1.0
    for weight in (site.weight.detach().float(), norm):
        digest.update(weight.cpu().contiguous().numpy().astype("<f4").tobytes())
    return digest.hexdigest()


def _eos(model) -> list[int]:
    eos = model.generation_config.eos_token_id
    eos = model.config.eos_token_id if eos is None else eos
    return [] if eos is None else [eos] if isinstance(eos, int) else list(eos)
