"""Text to vectors, behind a port: the services never see which library does it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np

from .vector_store import Vectors

_LOADING = Lock()
# Texts averaged at once: bounds the memory for the vectors of all their tokens, about 20 MB.
_BATCH = 256


class Embedding(NamedTuple):
    """Unit vectors, one row a text, and how many tokens the texts came to: what an embedding service would bill."""

    vectors: Vectors
    tokens: int


class Embedder(Protocol):
    """Port: turns texts into unit vectors."""

    def embed(self, texts: Sequence[str]) -> Embedding:
        """Vectors of shape (len(texts), dimensions); each row has length 1."""


class WordLlamaEmbedder:
    """WordLlama: averages of trained token vectors, 256 dimensions.

    Weights and tokenizer come inside its wheel. Nothing is ever downloaded. Its own `embed` would pad all texts to
    the longest one and keep the number of tokens to itself, so the average is taken here.
    """

    def embed(self, texts: Sequence[str]) -> Embedding:
        """See Embedder."""
        model = _model()
        batches = [list(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
        found = [_average(model.embedding, model.tokenizer.encode_batch_fast(batch, add_special_tokens=False))
                 for batch in batches]  # fmt: skip
        vectors = np.concatenate([part.vectors for part in found])
        return Embedding(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), sum(part.tokens for part in found))


def _average(weights: Vectors, encodings: Sequence[Any]) -> Embedding:
    """The mean of the vectors of each text's tokens; a text without any counts as one unknown token."""
    ids = [encoding.ids or [0] for encoding in encodings]
    lengths = np.array([len(tokens) for tokens in ids])
    starts = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    sums = np.add.reduceat(weights[np.concatenate(ids)], starts, axis=0)
    return Embedding(np.asarray(sums / lengths[:, np.newaxis], dtype=np.float32), int(lengths.sum()))


def _model() -> Any:  # noqa: ANN401 - the library has no types
    # cache() alone would let several threads load the model at once.
    with _LOADING:
        return _load()


@cache
def _load() -> Any:  # noqa: ANN401 - the library has no types
    with _root_logger_untouched():
        import wordllama  # type: ignore[import-untyped]  # noqa: PLC0415 - a third of a second, only where needed

    # The wheel has the tokenizer in `tokenizers/`, where the loader looks only if told that this is its cache.
    package = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(dim=256, cache_dir=package, disable_download=True)
    model.tokenizer.no_padding()
    return model


@contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """The library calls logging.basicConfig() when it is imported, which is for programs to do."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
