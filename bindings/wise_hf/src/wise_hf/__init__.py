"""Answers with a patch of the wise knowledge editor in a transformers model, its router intact."""

from .errors import Malformed, Unsupported, WiseError, WrongModel
from .patch import Patch
from .router import Route

__all__ = [
    "Answer",
    "EditedModel",
    "Malformed",
    "Patch",
    "Route",
    "Unsupported",
    "WiseError",
    "WrongModel",
]


def __getattr__(name: str):
    # Who only reads a patch needs no torch.
    if name in ("Answer", "EditedModel"):
        from . import edited

        return getattr(edited, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
