"""Names in paths that may hold anything: `{name:any_text}` takes slashes and line ends, which `path` does not."""

from __future__ import annotations

from starlette.convertors import StringConvertor, register_url_convertor

ANY_TEXT = "any_text"


class AnyText(StringConvertor):
    """Limit keys and correlation ids are whatever their owner calls them."""

    regex = r"[\s\S]+"

    def to_string(self, value: str) -> str:
        """As it is."""
        return value


register_url_convertor(ANY_TEXT, AnyText())
