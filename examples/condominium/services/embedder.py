"""Text to vectors, behind a port: the services never see which library does it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from .vector_store import Vectors

_LOADING = Lock()


class Embedder(Protocol):
    """Port: turns texts into unit vectors, one row a text."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Shape (len(texts), dimensions); each row has length 1."""

    def count_tokens(self, texts: Sequence[str]) -> int:
        """How many tokens the texts come to: what an embedding service would bill."""


class WordLlamaEmbedder:
    """WordLlama: averages of trained token vectors, 256 dimensions, 2 MB of text in about half a second.

    Weights and tokenizer come inside its wheel. Nothing is ever downloaded.
    """

    def embed(self, texts: Sequence[str]) -> Vectors:
        """See Embedder."""
        return np.asarray(_model().embed(list(texts), norm=True), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> int:
        """See Embedder."""
        return sum(sum(encoding.attention_mask) for encoding in _model().tokenize(list(texts)))


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
    return wordllama.WordLlama.load(dim=256, cache_dir=package, disable_download=True)


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
