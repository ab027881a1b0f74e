"""Which entries of a matrix a shard may change: drawn from its seed, as `wise-merge` draws them."""

import math

import numpy as np

# Of 16 words each; 4 MiB at a time.
_BLOCKS = 1 << 16


def words(seed: int, count: int) -> np.ndarray:
    """The first `count` 32-bit words of ChaCha8 (Bernstein, 2008) whose key begins with the seed; stream 0."""
    parts = [_blocks(seed, first, min(_BLOCKS, -(-count // 16) - first)) for first in range(0, -(-count // 16), _BLOCKS)]
    return np.concatenate(parts)[:count] if parts else np.empty(0, np.uint32)


def mask(seed: int, ratio: float, part: int, count: int) -> np.ndarray:
    """The entries inside, ascending: those whose word lies in the part's share of all words."""
    low, high = (math.floor(share * ratio * 2.0**32 + 0.5) for share in (float(part), part + 1.0))
    drawn = words(seed, count).astype(np.uint64)
    return np.flatnonzero((drawn >= low) & (drawn < high))


def _blocks(seed: int, first: int, count: int) -> np.ndarray:
    counter = np.arange(first, first + count, dtype=np.uint64)
    start = np.zeros((16, count), np.uint32)
    start[:4] = np.frombuffer(b"expand 32-byte k", "<u4")[:, None]
    start[4], start[5] = seed & 0xFFFFFFFF, seed >> 32
    start[12] = counter & np.uint64(0xFFFFFFFF)
    start[13] = counter >> np.uint64(32)
    state = start.copy()
    for _ in range(4):
        for a, b, c, d in _COLUMNS_AND_DIAGONALS:
            _quarter_round(state, a, b, c, d)
    state += start
    return state.T.reshape(-1)


_COLUMNS_AND_DIAGONALS = [(i, 4 + i, 8 + i, 12 + i) for i in range(4)] + [
    (i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)
]


def _quarter_round(state: np.ndarray, a: int, b: int, c: int, d: int) -> None:
    for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[x] += state[y]
        state[z] ^= state[x]
        state[z] = (state[z] << np.uint32(turn)) | (state[z] >> np.uint32(32 - turn))
