"""What an edit is recognised by, and how well a text fits it.

The arithmetic is that of `wise-memory`, in f32 and in the same order, so that both find the same fits.
"""

from dataclasses import dataclass

import numpy as np

from .errors import Malformed

# Coordinates of a token, of a relation, and tokens of a key at most.
WIDTH, RELATION_WIDTH, TOKENS = 128, 32, 15

f32 = np.float32
# What the fit of the relation counts for where that of the subject counts for 1.
_RELATION = f32(0.3)
# Share of how well the words fit in how well the relation does, where one was read.
_WORDS = f32(0.1)
# Share of an edit's words that a text lacks in how badly its words fit.
_MISSING = f32(0.7)
# Cosine with one of the subject's tokens from which on a text's token belongs to the subject.
_SUBJECT = f32(0.5)


class Tokens:
    """Whitened hidden states in four bits a coordinate, a row each."""

    def __init__(self, coordinates: np.ndarray):
        # Small whole numbers, so products of f32 are exact.
        self.coordinates = coordinates.astype(f32)
        squares = np.maximum((self.coordinates**2).sum(axis=1), 1)
        self.lengths = np.sqrt(squares).astype(f32)

    def __len__(self) -> int:
        return len(self.coordinates)

    @classmethod
    def of(cls, states: np.ndarray) -> "Tokens":
        """The directions of whitened states, `[tokens, at most 128]`."""
        coordinates = quantised(states, 7.0)
        return cls(np.pad(coordinates, ((0, 0), (0, WIDTH - coordinates.shape[1]))))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Tokens":
        halves = np.frombuffer(data, np.uint8).reshape(-1, WIDTH // 2)
        pairs = np.stack([halves >> 4, halves & 15], axis=2)
        return cls(pairs.reshape(-1, WIDTH).astype(np.int32) - 8)

    def nearest(self, others: "Tokens") -> np.ndarray:
        """Of each token the cosine with the one of the others most like it, -1 where there are none."""
        if len(others) == 0:
            return np.full(len(self), -1, f32)
        products = self.coordinates @ others.coordinates.T
        cosines = products / (self.lengths[:, None] * others.lengths[None, :])
        return np.maximum(cosines.max(axis=1), f32(-1))

    def only(self, which: np.ndarray) -> "Tokens":
        return Tokens(self.coordinates[which])


@dataclass(frozen=True)
class Question:
    """What a text asks for, whichever of its tokens are its subject's."""

    # What the map makes of the last token, and of each token in the place of the mean.
    last: np.ndarray
    tokens: np.ndarray

    def about(self, of_subject: np.ndarray) -> np.ndarray:
        """What is asked about the tokens that are the subject's."""
        apart = self.tokens if of_subject.all() else self.tokens[~of_subject]
        coordinates = quantised((self.last + apart.mean(axis=0))[None, :], 127.0)[0]
        return np.pad(coordinates, (0, RELATION_WIDTH - coordinates.size)).astype(np.int8)


@dataclass(frozen=True)
class Reading:
    """A text as keys are compared with it: its tokens, how rare each is, and what it asks for if that was read."""

    tokens: Tokens
    weights: np.ndarray
    question: Question | None = None


@dataclass(frozen=True)
class Key:
    """The subject's tokens, the prompt's rarest others and how rare they are, and what the prompt asks for."""

    subject: Tokens
    others: Tokens
    weights: np.ndarray
    relation: np.ndarray | None

    def subject_fit(self, reading: Reading) -> np.float32:
        return _sum(self.subject.nearest(reading.tokens)) / f32(len(self.subject))

    def relation_fit(self, reading: Reading) -> np.float32:
        of_subject = reading.tokens.nearest(self.subject) >= _SUBJECT
        words = self._words_fit(reading, of_subject)
        if self.relation is None or reading.question is None:
            return words
        asked = reading.question.about(of_subject)
        return (f32(1) - _WORDS) * _cosine(self.relation, asked) + _WORDS * words

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


def quantised(values: np.ndarray, largest: float) -> np.ndarray:
    """Rows as whole numbers up to `largest`, halves rounded away from zero."""
    values = values.astype(f32)
    most = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(f32).tiny)
    scaled = (values / most * f32(largest)).astype(np.float64)
    return (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).astype(np.int32)


def keys_from_bytes(data: bytes) -> list[Key]:
    """The keys that stand one behind the other."""
    keys, at = [], 0
    while at < len(data):
        header = data[at : at + 3]
        subject, others, relations = (*header, 0, 0, 0)[:3]
        places = np.cumsum([at + 3, others, subject * WIDTH // 2, others * WIDTH // 2, relations * RELATION_WIDTH])
        weights_at, subject_at, others_at, relation_at, end = (int(place) for place in places)
        if len(header) < 3 or subject == 0 or subject + others > TOKENS or relations > 1 or end > len(data):
            raise Malformed(f"no key begins at byte {at} of a shard's keys")
        relation = np.frombuffer(data[relation_at:end], np.int8) if relations else None
        keys.append(
            Key(
                subject=Tokens.from_bytes(data[subject_at:others_at]),
                others=Tokens.from_bytes(data[others_at:relation_at]),
                weights=np.frombuffer(data[weights_at:subject_at], np.uint8),
                relation=relation,
            )
        )
        at = end
    return keys


def _cosine(a: np.ndarray, b: np.ndarray) -> np.float32:
    a, b = a.astype(np.int64), b.astype(np.int64)
    squares = [f32(max(int(x @ x), 1)) for x in (a, b)]
    return f32(int(a @ b)) / np.sqrt(squares[0] * squares[1])


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
