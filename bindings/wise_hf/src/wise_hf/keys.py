"""What an edit is recognised by, and how well a text fits it.

The arithmetic is that of `wise-memory`, in f32 and in the same order, so that both find the same fits.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .errors import Malformed

# Coordinates of a token, of a relation, and tokens of a key at most.
TOKEN, RELATION, TOKENS = 128, 64, 15

f32 = np.float32
# What the fit of the relation counts for where that of the subject counts for 1.
_RELATION = f32(0.3)
# Share of how well the words fit in how well the relation does, where one was read.
_WORDS = f32(0.1)
# Share of an edit's words that a text lacks in how badly its words fit.
_MISSING = f32(0.7)
# Cosine with one of the subject's tokens from which on a text's token belongs to the subject.
_SUBJECT = f32(0.5)
# The same from which on it is that very token, in the same surroundings.
_SAME = f32(0.9)


class Directions:
    """Directions of vectors in four bits a coordinate, a row each."""

    def __init__(self, coordinates: np.ndarray):
        # Small whole numbers, so products of f32 are exact.
        self.coordinates = coordinates.astype(f32)
        squares = np.maximum((self.coordinates**2).sum(axis=1), 1)
        self.lengths = np.sqrt(squares).astype(f32)

    def __len__(self) -> int:
        return len(self.coordinates)

    @classmethod
    def of(cls, vectors: np.ndarray, width: int) -> "Directions":
        """Those of `[count, at most width]`."""
        vectors = vectors.astype(f32)
        most = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), np.finfo(f32).tiny)
        scaled = (vectors / most * f32(7)).astype(np.float64)
        # Halves are rounded away from zero.
        coordinates = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
        return cls(np.pad(coordinates, ((0, 0), (0, width - coordinates.shape[1]))))

    @classmethod
    def from_bytes(cls, data: bytes, width: int) -> "Directions":
        halves = np.frombuffer(data, np.uint8).reshape(-1, width // 2)
        pairs = np.stack([halves >> 4, halves & 15], axis=2)
        return cls(pairs.reshape(-1, width).astype(np.int32) - 8)

    def nearest(self, others: "Directions") -> np.ndarray:
        """Of each the cosine with the one of the others most like it, -1 where there are none."""
        if len(others) == 0:
            return np.full(len(self), -1, f32)
        return np.maximum(self.cosines(others).max(axis=1), f32(-1))

    def cosines(self, others: "Directions") -> np.ndarray:
        """Of each with each of the others."""
        products = self.coordinates @ others.coordinates.T
        return products / (self.lengths[:, None] * others.lengths[None, :])

    def only(self, which: np.ndarray) -> "Directions":
        return Directions(self.coordinates[which])


@dataclass(frozen=True)
class Question:
    """What a text asks for, whichever of its tokens are its subject's."""

    # What the map makes of the last token, and of each token in the place of the mean.
    last: np.ndarray
    tokens: np.ndarray

    def about(self, of_subject: np.ndarray) -> Directions:
        """What is asked about the tokens that are the subject's."""
        apart = self.tokens if of_subject.all() else self.tokens[~of_subject]
        return Directions.of((self.last + apart.mean(axis=0))[None, :], RELATION)


@dataclass(frozen=True)
class Reading:
    """A text as keys are compared with it: its tokens, how rare each is, and what it asks for if that was read."""

    tokens: Directions
    weights: np.ndarray
    question: Question | None = None


@dataclass(frozen=True)
class Key:
    """The subject's tokens, the prompt's rarest others and how rare they are, and what the prompt asks for."""

    subject: Directions
    others: Directions
    weights: np.ndarray
    relation: Directions | None

    def subject_fit(self, reading: Reading) -> np.float32:
        return _sum(self.subject.nearest(reading.tokens)) / f32(len(self.subject))

    def relation_fit(self, reading: Reading) -> np.float32:
        of_subject = self.of_subject(reading)
        words = self._words_fit(reading, of_subject)
        if self.relation is None or reading.question is None:
            return words
        asked = reading.question.about(of_subject)
        return (f32(1) - _WORDS) * self.relation.nearest(asked)[0] + _WORDS * words

    def of_subject(self, reading: Reading) -> np.ndarray:
        """Of each of a text's tokens whether it belongs to the subject."""
        cosines = reading.tokens.cosines(self.subject)
        of_subject = cosines.max(axis=1) >= _SUBJECT
        if len(self.subject) == TOKENS:
            # Of a long subject not every token is kept.
            nearest = enumerate(cosines.argmax(axis=1))
            for (at, own), (next_at, next_own) in pairwise((at, own) for at, own in nearest if cosines[at, own] >= _SAME):
                if own + 1 == next_own:
                    of_subject[at:next_at] = True
        return of_subject

    def _words_fit(self, reading: Reading, of_subject: np.ndarray) -> np.float32:
        if len(self.others) == 0:
            return f32(1)
        missing = _weighted(self.weights, self.others.nearest(reading.tokens))
        others = reading.tokens.only(~of_subject)
        added = _weighted(reading.weights[~of_subject], others.nearest(self.others))
        return _MISSING * missing + (f32(1) - _MISSING) * added


def rank(subject: np.float32, relation: np.float32) -> np.float32:
    """What fits are ranked by."""
    return subject + _RELATION * relation


def keys_from_bytes(data: bytes) -> list[Key]:
    """The keys that stand one behind the other."""
    keys, at = [], 0
    while at < len(data):
        header = data[at : at + 3]
        subject, others, relations = (*header, 0, 0, 0)[:3]
        counts = [others, subject * TOKEN // 2, others * TOKEN // 2, relations * RELATION // 2]
        places = np.cumsum([at + 3, *counts])
        weights_at, subject_at, others_at, relation_at, end = (int(place) for place in places)
        if len(header) < 3 or subject == 0 or subject + others > TOKENS or relations > 1 or end > len(data):
            raise Malformed(f"no key begins at byte {at} of a shard's keys")
        relation = Directions.from_bytes(data[relation_at:end], RELATION) if relations else None
        keys.append(
            Key(
                subject=Directions.from_bytes(data[subject_at:others_at], TOKEN),
                others=Directions.from_bytes(data[others_at:relation_at], TOKEN),
                weights=np.frombuffer(data[weights_at:subject_at], np.uint8),
                relation=relation,
            )
        )
        at = end
    return keys


def _sum(values: np.ndarray) -> np.float32:
    # numpy adds pairwise; the order decides the last bit.
    total = f32(0)
    for value in values:
        total += value
    return total


def _weighted(weights: np.ndarray, fits: np.ndarray) -> np.float32:
    weights = weights.astype(f32)
    total = _sum(weights)
    return _sum(weights * fits) / total if total > 0 else f32(0)
