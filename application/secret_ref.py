"""References to secrets in payloads: `{"$secret": "payment-gateway"}` (rule 6).

The reference is what is dispatched, recorded and shown. Just before the handler runs it is resolved: the handler finds
a `SecretRef` wherever a reference stands, in a field of that type as well as inside free-form JSON.
"""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from typing import Annotated, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, ValidationInfo, model_validator

from jobledger.domain.errors import InvalidInput

REFERENCE_KEY = "$secret"
REFERENCE_MARK = b'"$secret"'
"""In every stored payload that holds a reference."""
SECRET_NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$"


@runtime_checkable
class SecretSource(Protocol):
    """Gives the text of a secret by its name."""

    def __getitem__(self, name: str, /) -> str:
        """The text. Raises `UnknownSecret` or `VaultUnavailable`."""
        ...


class SecretRef(BaseModel):
    """A reference to a secret, as the type of a payload field. Neither its text nor its repr shows the secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, serialize_by_alias=True)

    name: Annotated[str, Field(alias=REFERENCE_KEY, pattern=SECRET_NAME)]
    _text: str | None = PrivateAttr(default=None)

    def reveal(self) -> str:
        """The secret's text. Only inside a handler: elsewhere there is none, and `InvalidInput` is raised."""
        if self._text is None:
            raise InvalidInput(
                f"the secret {self.name!r} is not resolved here", field=REFERENCE_KEY,
                rule="secrets are resolved just before the handler runs", hint="reveal() it in the handler",
            )  # fmt: skip
        return self._text

    @model_validator(mode="after")
    def _resolve(self, info: ValidationInfo) -> Self:
        if isinstance(info.context, SecretSource):
            self._text = info.context[self.name]
        return self


def resolve_references(value: object, source: SecretSource) -> object:
    """The value with a resolved `SecretRef` in place of each reference that stands in free-form JSON."""
    if isinstance(value, dict):
        reference = _reference(value, source)
        if reference is not None:
            return reference
        value.update({key: resolve_references(item, source) for key, item in value.items()})
    elif isinstance(value, list):
        value[:] = [resolve_references(item, source) for item in value]
    elif type(value) is tuple:
        return tuple(resolve_references(item, source) for item in value)
    elif not isinstance(value, SecretRef) and (isinstance(value, BaseModel) or is_dataclass(value)):
        fields: dict[str, object] = getattr(value, "__dict__", {})
        fields.update({name: resolve_references(item, source) for name, item in fields.items()})
    return value


def is_reference(value: dict[str, object]) -> bool:
    """Whether an object is a reference, as payloads hold them."""
    name = value.get(REFERENCE_KEY)
    return len(value) == 1 and isinstance(name, str) and re.fullmatch(SECRET_NAME, name) is not None


def _reference(value: dict[object, object], source: SecretSource) -> SecretRef | None:
    if len(value) != 1 or REFERENCE_KEY not in value:
        return None
    try:
        return SecretRef.model_validate(value, context=source)
    except ValidationError as error:
        rule = "names a secret"
        raise InvalidInput("not a reference to a secret", field=REFERENCE_KEY, rule=rule) from error
