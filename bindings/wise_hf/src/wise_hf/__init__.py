"""Answers with a patch of the wise knowledge editor in a transformers model, its router intact."""

from .edited import Answer, EditedModel
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
