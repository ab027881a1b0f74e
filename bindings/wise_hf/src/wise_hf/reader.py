"""Reads texts off the first layers of a model, as keys are compared with them."""

import numpy as np
import torch

from .errors import Malformed
from .keys import TOKEN, Directions, Question, Reading
from .patch import Reader

# Layer whose hidden states are read, counted from 0.
_LAYER = 1


class _Read(Exception):
    """Ends a forward pass once there is nothing more to see."""


class TextReader:
    """Reads what texts speak of and what they ask for.

    Hidden states are those in front of a layer's feed-forward part, attention included.
    """

    def __init__(self, decoder: torch.nn.Module, reader: Reader):
        self.decoder, self.reader = decoder, reader
        layers = len(decoder.layers)
        for layer in [_LAYER] + ([reader.relations.layer] if reader.relations else []):
            if layer >= layers:
                raise Malformed(f"the patch reads layer {layer}, expected less than {layers}")

    def read(self, words: list[int]) -> Reading:
        """A text's tokens, and how rare each is."""
        states = self._states(words, _LAYER)
        whitened = (states - self.reader.mean).astype(np.float32) @ self.reader.whitening.T
        lengths = np.sqrt((whitened.astype(np.float64) ** 2).sum(axis=1))
        shares = np.minimum(lengths / self.reader.rare, 1.0)
        weights = np.maximum(np.floor(255.0 * shares * shares + 0.5), 1).astype(np.uint8)
        return Reading(Directions.of(whitened, TOKEN), weights)

    def question(self, words: list[int]) -> Question | None:
        """What a text asks for; None where the patch has nothing to read that with."""
        relations = self.reader.relations
        if relations is None:
            return None
        states = self._states(words, relations.layer).astype(np.float32)
        hidden = states.shape[1]
        last = relations.map[:, :hidden] @ (states[-1] - relations.mean[:hidden])
        tokens = (states - relations.mean[hidden:]) @ relations.map[:, hidden:].T
        return Question(last, tokens)

    def _states(self, words: list[int], layer: int) -> np.ndarray:
        """Hidden states of a text's tokens but the line break, `[tokens, hidden]`."""
        seen = {}

        def see(_module, args):
            seen["states"] = args[0]
            raise _Read

        block = self.decoder.layers[layer]
        # Gemma has a norm behind attention too, whose input is another one.
        norm = getattr(block, "pre_feedforward_layernorm", None) or block.post_attention_layernorm
        hook = norm.register_forward_pre_hook(see)
        try:
            device = self.decoder.get_input_embeddings().weight.device
            with torch.no_grad():
                self.decoder(input_ids=torch.tensor([words], device=device), use_cache=False)
        except _Read:
            pass
        finally:
            hook.remove()
        states = seen["states"][0].float().cpu().numpy()
        return states[1:] if len(states) > 1 else states
