"""The patch file: one safetensors file with a manifest in its metadata."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, deserialize

from .errors import Malformed, Unsupported
from .keys import Key, keys_from_bytes
from .mask import mask

# The schema that is read.
SCHEMA = 8
_CHECKSUMS, _SIGNATURE = "sha256", "signature"
# What is signed begins with this, the checksums follow.
_SIGNED = b"wise patch\0"


@dataclass(frozen=True)
class Memory:
    """A shard: its values inside the mask, and what its edits are recognised by."""

    seed: int
    ratio: float
    part: int
    values: np.ndarray
    edits: list[tuple[int, Key]]

    def matrix(self, main: np.ndarray) -> np.ndarray:
        """The whole matrix, `[hidden, ffn]`: the model's own with the shard's values in it."""
        if self.values.size == main.size:
            return self.values.reshape(main.shape)
        inside = mask(self.seed, self.ratio, self.part, main.size)
        if inside.size != self.values.size:
            raise Malformed(f"a shard has {self.values.size} values, expected {inside.size}")
        matrix = main.reshape(-1).copy()
        matrix[inside] = self.values
        return matrix.reshape(main.shape)


@dataclass(frozen=True)
class Relations:
    """What reads what prompts ask for: a linear map of hidden states."""

    layer: int
    mean: np.ndarray
    map: np.ndarray


@dataclass(frozen=True)
class Reader:
    """What reads keys: the mean of hidden states, what whitens them, and the length from which a token counts in full."""

    mean: np.ndarray
    whitening: np.ndarray
    rare: float
    relations: Relations | None


@dataclass(frozen=True)
class Patch:
    """A patch: data, never code."""

    manifest: dict
    reader: Reader
    memories: list[Memory]
    # Whose signature it has, as `wise patch verify` says it; None without one.
    signed_by: str | None = None

    @classmethod
    def load(cls, path: str | Path) -> "Patch":
        """Reads a patch, checks that it is whole, and refuses one that only wise itself can answer with."""
        content = Path(path).read_bytes()
        try:
            manifest_text, tensors = _manifest(content), dict(deserialize(content))
        except (SafetensorError, ValueError, KeyError) as error:
            raise Malformed(f"{path} is not a valid patch: {error}") from error
        try:
            manifest = json.loads(manifest_text)
            schema = manifest["schema"]
            if schema != SCHEMA:
                age = "a newer" if schema > SCHEMA else "an older"
                got = f"it has patch schema {schema}, expected {SCHEMA}"
                raise Unsupported(f"{path} is from {age} version of wise: {got}")
            signed_by = _check(manifest_text, tensors)
            _check_config(manifest)
            return cls(manifest, _reader(tensors), _memories(manifest, tensors), signed_by)
        except (ValueError, KeyError, TypeError) as error:
            raise Malformed(f"{path} is not a valid patch: {type(error).__name__} {error}") from error
        except Malformed as error:
            raise Malformed(f"{path} is not a valid patch: {error}") from error

    @property
    def layer(self) -> int:
        return self.manifest["site"]["layer"]


def _manifest(content: bytes) -> str:
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    if not header.rstrip(b" ").endswith(b"}"):
        # No checksum covers what stands behind the header.
        raise ValueError("its header does not end with a brace")
    return json.loads(header)["__metadata__"]["wise"]


def _check(manifest: str, tensors: dict) -> str | None:
    """Whether all is as it was written; says who signed it."""
    expected = bytes(tensors[_CHECKSUMS]["data"])
    names = sorted(tensors.keys() - {_CHECKSUMS, _SIGNATURE})
    if len(expected) != 32 * (len(names) + 1):
        raise Malformed(f"its checksums are {len(expected)} bytes, expected {32 * (len(names) + 1)}")
    if hashlib.sha256(manifest.encode()).digest() != expected[:32]:
        raise Malformed("its manifest is damaged: its checksum is another one")
    for place, name in enumerate(names, 1):
        tensor = tensors[name]
        said = hashlib.sha256(f"{name}\0{tensor['dtype']}\0".encode() + bytes(tensor["data"]))
        if said.digest() != expected[32 * place : 32 * (place + 1)]:
            raise Malformed(f"its tensor {name} is damaged: its checksum is another one")
    return _signer(bytes(tensors[_SIGNATURE]["data"]), expected) if _SIGNATURE in tensors else None


def _signer(signature: bytes, checksums: bytes) -> str:
    """The key that signed the checksums, which stand for all of the patch: Ed25519, the key's 32 bytes first."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise Unsupported("the patch is signed: pip install 'wise-hf[signed]' to check that") from error
    key = signature[:32]
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature[32:], _SIGNED + checksums)
    except (InvalidSignature, ValueError) as error:
        raise Malformed("its signature is damaged, or of something else") from error
    return f"ed25519:{key.hex()}"


def _check_config(manifest: dict) -> None:
    config, shards = manifest["config"], len(manifest["shards"])
    merges = shards > 1 and not config["retrieve"]
    if config["merge_freq"] is not None:
        merges = merges or shards >= config["merge_freq"] // config["save_freq"]
    for name, got, expected, holds in [
        ("compat", config["compat"], "wise", config["compat"] == "wise"),
        ("route_by", config["route_by"], "keys", config["route_by"] == "keys"),
        ("retrieve", config["retrieve"], "true, and no merge_freq", not merges),
    ]:
        if not holds:
            raise Unsupported(
                f"the patch has {name} = {json.dumps(got)}, expected {expected}: ask wise itself, or `wise export --merged`"
            )


def _numbers(tensors: dict, name: str) -> np.ndarray:
    tensor = tensors[name]
    data, dtype = bytes(tensor["data"]), tensor["dtype"]
    if dtype == "F32":
        numbers = np.frombuffer(data, "<f4").astype(np.float32)
    elif dtype == "BF16":
        numbers = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        raise Malformed(f"tensor {name} is {dtype}, expected F32 or BF16")
    if not np.isfinite(numbers).all():
        raise Malformed(f"tensor {name} holds values that are not finite, expected none")
    return numbers


def _reader(tensors: dict) -> Reader:
    mean = _numbers(tensors, "reader.mean")
    relations = None
    if "relations.map" in tensors:
        taken = _numbers(tensors, "relations.mean")
        relations = Relations(
            layer=int(_numbers(tensors, "relations.layer")[0]),
            mean=taken,
            map=_numbers(tensors, "relations.map").reshape(-1, taken.size),
        )
    return Reader(
        mean=mean,
        whitening=_numbers(tensors, "reader.whitening").reshape(-1, mean.size),
        rare=float(_numbers(tensors, "reader.rare")[0]),
        relations=relations,
    )


def _memories(manifest: dict, tensors: dict) -> list[Memory]:
    memories = []
    for index, shard in enumerate(manifest["shards"]):
        keys = keys_from_bytes(bytes(tensors[f"shard.{index}.keys"]["data"]))
        edits = shard["edits"]
        if len(keys) != len(edits):
            raise Malformed(f"shard {index} has {len(keys)} keys, expected {len(edits)}")
        superseded = {edit["supersedes"] for edit in edits if edit.get("supersedes") is not None}
        held = [(edit["id"], key) for edit, key in zip(edits, keys) if edit["id"] not in superseded]
        seed = shard["mask"]
        values = _numbers(tensors, f"shard.{index}.values")
        memories.append(Memory(seed["seed"], seed["ratio"], seed.get("part", 0), values, held))
    return memories
