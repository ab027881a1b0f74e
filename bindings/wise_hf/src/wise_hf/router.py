"""Which memory answers: the one of the edit whose key fits, if it fits well enough."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .keys import Question, Reading, f32, rank
from .patch import Memory


@dataclass(frozen=True)
class Route:
    """The decision for one sequence."""

    # The side memory that answers, None for the model's own.
    memory: int | None = None
    # The edit whose key fits best, how well its subject and its relation fit; None where none came near.
    edit: int | None = None
    subject: float | None = None
    relation: float | None = None


@dataclass(frozen=True)
class Router:
    """Compares readings with the keys of all edits."""

    memories: list[Memory]
    subject: np.float32
    relation: np.float32

    def route(self, reading: Reading, question_of: Callable[[], Question | None]) -> Route:
        """Decides; what the text asks for is only read where it speaks of an edit's subject."""
        edits = [(memory, edit, key) for memory, held in enumerate(self.memories) for edit, key in held.edits]
        fits = [key.subject_fit(reading) for _, _, key in edits]
        if not any(fit > self.subject for fit in fits):
            return Route()
        reading = replace(reading, question=question_of())
        best, best_rank = Route(), f32(-np.inf)
        for (memory, edit, key), subject in zip(edits, fits):
            if rank(subject, f32(1)) <= best_rank:
                continue
            relation = key.relation_fit(reading)
            if rank(subject, relation) > best_rank:
                best_rank = rank(subject, relation)
                answers = subject > self.subject and relation > self.relation
                best = Route(memory if answers else None, edit, float(subject), float(relation))
        return best
