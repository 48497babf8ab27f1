"""Secrets in a JSON file that only its owner may read.

{"smtp": "for every tenant", "payment-gateway": {"acme": "for acme alone", "globex": "for globex alone"}}
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from jobledger.domain.errors import InvalidSettings, UnknownSecret, VaultUnavailable

VARIABLE = "JOBLEDGER_SECRETS_FILE"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class _Version(NamedTuple):
    """Tells one content of the file from the next."""

    device: int
    inode: int
    size: int
    modified_nanoseconds: int
    changed_nanoseconds: int


class FileVault:
    """The `SecretVault` over a JSON file. Read again whenever the file has changed; safe for several threads."""

    def __init__(self, path: Path) -> None:
        """Reads the file: `InvalidSettings` where it is not there, not JSON, or readable by others."""
        self._path = path
        self._lock = Lock()
        self._version: _Version | None = None
        self._secrets: dict[str, str | dict[str, str]] = {}
        try:
            self._refresh()
        except VaultUnavailable as error:
            raise InvalidSettings(error.message, field=VARIABLE, rule="a JSON file of permission 0600") from None

    def get(self, name: str, tenant: str) -> str:
        """The text of a secret; see `SecretVault`."""
        with self._lock:
            self._refresh()
            secret = self._secrets.get(name)
        if isinstance(secret, dict):
            secret = secret.get(tenant)
        if secret is None:
            raise UnknownSecret(f"the vault has no secret {name!r} for tenant {tenant!r}; add it to {self._path.name}")
        return secret

    def _refresh(self) -> None:
        """Read the file if it is not what was read last. Messages say where something is wrong, not what is there."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise VaultUnavailable(f"the secrets file {self._path} cannot be read: {error.strerror}") from None
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            self._require_private(status)
            version = _Version(
                status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
            )  # fmt: skip
            if version != self._version:
                self._secrets = self._read(file.read())
                self._version = version

    def _require_private(self, status: os.stat_result) -> None:
        if status.st_mode & _OTHERS:
            raise VaultUnavailable(
                f"the secrets file {self._path} has permission {stat.S_IMODE(status.st_mode):04o}, and others may use "
                f"it; run: chmod 0600 {self._path}"
            )

    def _read(self, content: bytes) -> dict[str, str | dict[str, str]]:
        try:
            secrets = json.loads(content)
        except ValueError:  # its message and its attributes show what is there
            raise VaultUnavailable(f"the secrets file {self._path} is not JSON") from None
        if not isinstance(secrets, dict):
            raise VaultUnavailable(f"the secrets file {self._path} is not a JSON object of names")
        for name, secret in secrets.items():
            texts = secret.values() if isinstance(secret, dict) else (secret,)
            if not all(isinstance(text, str) for text in texts):
                raise VaultUnavailable(
                    f"the secrets file {self._path}: {name!r} is neither a text nor an object from tenants to texts"
                )
        return secrets
