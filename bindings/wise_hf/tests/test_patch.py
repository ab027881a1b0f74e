"""What needs neither a model nor the wise binary."""

import hashlib
import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import save
from wise_hf import Malformed, Patch, Unsupported
from wise_hf.keys import RELATION, TOKEN, Directions, Key, Question, Reading, keys_from_bytes, rank
from wise_hf.mask import mask
from wise_hf.prompt import plain

HIDDEN, FFN = 4, 8
CONFIG = {
    "compat": "wise",
    "route_by": "keys",
    "retrieve": True,
    "merge_freq": None,
    "save_freq": 50,
    "prompt_format": "raw",
}


def test_masks_are_those_of_wise():
    # The figures that wise-merge pins for its patches.
    first = [0, 2, 10, 11, 12, 20, 24, 31, 34, 35, 43, 49, 55, 60, 63]
    second = [1, 3, 4, 7, 15, 16, 18, 25, 26, 30, 38, 46, 51, 58, 59]
    assert mask(42, 0.2, 0, 64).tolist() == first
    assert mask(42, 0.2, 1, 64).tolist() == second
    assert mask(42, 1.0, 0, 64).tolist() == list(range(64))


def test_a_mask_does_not_depend_on_how_it_is_cut_into_blocks():
    # More entries than are drawn at a time, and a seed of more than 32 bits.
    long = mask(14_330_608_400_789_313_726, 0.2, 0, (1 << 20) + 1000)
    assert np.array_equal(long[: len(long[long < 5000])], mask(14_330_608_400_789_313_726, 0.2, 0, 5000))
    # Five standard deviations of a binomial.
    assert abs(len(long) - 0.2 * ((1 << 20) + 1000)) < 2100


def token(*at: int) -> Directions:
    return Directions.of(np.eye(TOKEN)[list(at)], TOKEN)


def key(relation=None) -> Key:
    return Key(token(1, 2), token(3, 4), np.array([30, 10], np.uint8), relation)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ((4, 3, 2, 1), (1.0, 1.0)),
        ((9, 4, 3, 2, 1), (1.0, 0.7 + 0.3 * 2 / 3)),
        ((1, 3), (0.5, 0.7 * 0.75 + 0.3)),
        ((1, 2), (1.0, 0.0)),
    ],
)
def test_fits_are_those_of_wise(at, expected):
    reading = Reading(token(*at), np.full(len(at), 20, np.uint8))
    fits = key().subject_fit(reading), key().relation_fit(reading)
    assert np.allclose(fits, expected, atol=1e-6)
    assert rank(*fits) == pytest.approx(expected[0] + 0.3 * expected[1], abs=1e-6)


def test_what_is_asked_counts_more_than_the_words_where_it_is_read():
    one, other = (np.eye(RELATION)[i] for i in (5, 6))
    # The subject's own tokens ask for something else, and do not count.
    question = Question(one, np.array([other, other, one]))
    reading = Reading(token(1, 2, 9), np.full(3, 20, np.uint8), question)
    one, other = (Directions.of(vector[None, :], RELATION) for vector in (one, other))
    assert key(one).relation_fit(reading) == np.float32(1) - np.float32(0.1)
    assert key(other).relation_fit(reading) == 0.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" FIFA, Zürich ΣΑΣ ", "fifa, zürich σασ"),
        ("Who wrote \"The Trial\"?", "who wrote the trial?"),
        ("“The Trial,” *Emma*, _Dune_", "the trial, emma, dune"),
        ("Scarlett O'Hara’s 'Tara'", "scarlett o'hara's tara"),
        ("USS Ida (APA-56), f(x), a_b", "uss ida apa-56, f(x, a_b"),
        ("İx", "i\u0307x"),
        (" \"* ", ""),
    ],
)
def test_a_text_is_read_as_wise_reads_it(text, expected):
    assert plain(text) == expected


def test_of_a_long_subject_the_tokens_that_are_not_kept_are_its_own_where_it_stands_in_a_text():
    kept = (2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 21)
    key = Key(token(*kept), token(), np.array([], np.uint8), None)

    def of_subject(*at: int) -> list[bool]:
        return key.of_subject(Reading(token(*at), np.full(len(at), 1, np.uint8))).tolist()

    assert of_subject(30, 1, 31, *range(2, 22), 32) == [False] * 3 + [True] * 20 + [False]
    # Not the next that is kept.
    assert of_subject(2, 31, 4, 3, 31, 5, 6) == [True, False, True, True, False, False, True]


def test_halves_are_rounded_away_from_zero():
    vectors = np.array([[7.0, 0.5, -0.5, 2.5, -2.5]])
    assert Directions.of(vectors, 6).coordinates.tolist() == [[7, 1, -1, 3, -3, 0]]


def bytes_of(key: Key) -> bytes:
    directions = [key.subject, key.others] + ([] if key.relation is None else [key.relation])
    halves = [(some.coordinates.astype(np.int32) + 8).reshape(-1, 2) for some in directions]
    packed = b"".join(bytes((pairs[:, 0] << 4 | pairs[:, 1]).tolist()) for pairs in halves)
    return bytes([len(key.subject), len(key.others), len(directions) - 2]) + key.weights.tobytes() + packed


def test_keys_stand_one_behind_the_other():
    relation = Directions(np.arange(RELATION)[None, :] % 15 - 7)
    data = bytes_of(key()) + bytes_of(key(relation))
    first, second = keys_from_bytes(data)
    assert first.relation is None
    assert np.array_equal(second.relation.coordinates, relation.coordinates)
    assert np.array_equal(second.subject.coordinates, token(1, 2).coordinates)
    assert np.array_equal(second.others.coordinates, token(3, 4).coordinates)
    assert second.weights.tolist() == [30, 10]
    for bad in (data[:-1], b"\0\1\0\2", b"\x09\x09\0", b"\1"):
        with pytest.raises(Malformed, match="no key begins"):
            keys_from_bytes(bad)


def patch(config=None, schema=8, masks=((0, 0.5, 0),), edits=1, sign=None) -> bytes:
    """A patch as wise writes it; `sign` turns what is to be signed into key and signature."""
    shards, tensors = [], {
        "reader.mean": np.zeros(HIDDEN, np.float32),
        "reader.whitening": np.eye(HIDDEN, dtype=np.float32),
        "reader.rare": np.ones(1, np.float32),
    }
    for index, (seed, ratio, part) in enumerate(masks):
        made = [{"id": i + 1, **({"supersedes": i} if i else {})} for i in range(edits)]
        shards.append({"mask": {"seed": seed, "ratio": ratio, "part": part}, "edits": made})
        inside = mask(seed, ratio, part, HIDDEN * FFN)
        tensors[f"shard.{index}.values"] = np.arange(len(inside), dtype=np.float32) + 100
        tensors[f"shard.{index}.keys"] = np.frombuffer(bytes_of(key()) * edits, np.uint8)
    manifest = json.dumps({"schema": schema, "config": {**CONFIG, **(config or {})}, "shards": shards})
    sums = [hashlib.sha256(manifest.encode()).digest()]
    for name in sorted(tensors):
        dtype = {"float32": "F32", "uint8": "U8"}[tensors[name].dtype.name]
        sums.append(hashlib.sha256(f"{name}\0{dtype}\0".encode() + tensors[name].tobytes()).digest())
    if sign:
        tensors["signature"] = np.frombuffer(sign(b"wise patch\0" + b"".join(sums)), np.uint8)
    tensors["sha256"] = np.frombuffer(b"".join(sums), np.uint8)
    return save(tensors, metadata={"wise": manifest})


def load(tmp_path, content: bytes) -> Patch:
    (tmp_path / "x.wise").write_bytes(content)
    return Patch.load(tmp_path / "x.wise")


def test_a_memory_is_the_model_s_matrix_with_the_values_inside_the_mask(tmp_path):
    loaded = load(tmp_path, patch())
    main = -np.arange(HIDDEN * FFN, dtype=np.float32).reshape(HIDDEN, FFN)
    matrix = loaded.memories[0].matrix(main)
    inside = mask(0, 0.5, 0, HIDDEN * FFN)
    assert np.array_equal(matrix.reshape(-1)[inside], np.arange(len(inside)) + 100)
    outside = np.setdiff1d(np.arange(HIDDEN * FFN), inside)
    assert np.array_equal(matrix.reshape(-1)[outside], main.reshape(-1)[outside])


def test_of_a_prompt_edited_twice_the_newest_counts(tmp_path):
    loaded = load(tmp_path, patch(edits=3))
    assert [edit for edit, _ in loaded.memories[0].edits] == [3]


def test_a_flipped_byte_is_found_anywhere(tmp_path):
    whole = patch()
    load(tmp_path, whole)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        with pytest.raises((Malformed, Unsupported)):
            load(tmp_path, bytes(damaged))
    for length in (0, 7, 100, len(whole) - 1):
        with pytest.raises(Malformed):
            load(tmp_path, whole[:length])


def test_a_signature_is_checked_and_says_whose_it_is(tmp_path):
    secret = Ed25519PrivateKey.generate()
    public = secret.public_key().public_bytes_raw()
    whole = patch(sign=lambda message: public + secret.sign(message))
    assert load(tmp_path, whole).signed_by == f"ed25519:{public.hex()}"
    assert load(tmp_path, patch()).signed_by is None
    other = Ed25519PrivateKey.generate()
    for sign in (
        lambda message: public + other.sign(message),
        lambda message: public + secret.sign(message[1:]),
        lambda message: public,
    ):
        with pytest.raises(Malformed, match="its signature is damaged"):
            load(tmp_path, patch(sign=sign))


def test_what_is_damaged_is_named(tmp_path):
    whole = patch()
    damaged = whole.replace(np.float32(100).tobytes(), np.float32(99).tobytes())
    with pytest.raises(Malformed, match="shard.0.values is damaged"):
        load(tmp_path, damaged)
    with pytest.raises(Malformed, match="its manifest is damaged"):
        load(tmp_path, whole.replace(b"raw", b"Raw"))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (patch(schema=9), "a newer version of wise"),
        (patch(schema=7), "an older version of wise"),
        (patch({"route_by": "activation"}), 'route_by = "activation", expected keys'),
        (patch({"compat": "paper"}), 'compat = "paper", expected wise'),
        (patch({"retrieve": False}, masks=((0, 0.5, 0), (1, 0.5, 0))), "retrieve = false"),
        (patch({"merge_freq": 100}, masks=((0, 0.5, 0), (1, 0.5, 0))), "no merge_freq"),
    ],
)
def test_what_only_wise_does_is_refused(tmp_path, made, message):
    with pytest.raises(Unsupported, match=message):
        load(tmp_path, made)


def test_one_shard_is_never_merged(tmp_path):
    assert len(load(tmp_path, patch({"retrieve": False})).memories) == 1
