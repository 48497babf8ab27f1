"""What the document of the API has in common for all routes: problems, parameters, examples, tags, the server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from pydantic import BaseModel

from ..api import (
    audit,
    bulk,
    dlq,
    events,
    health,
    history,
    jobs,
    keys,
    leases,
    lists,
    operations,
    projections,
    queues,
    statistics,
    tenants,
    workers,
)
from ..api import problems as problem_models
from ..api.problems import MEDIA_TYPE, Problem
from .problem_documents import STATUS, make_problem

Json = dict[str, Any]

_DESCRIPTIONS: Final[dict[int, str]] = {
    400: "The body cannot be read.", 401: "Nothing proves who asks.", 403: "Who asks may not do that.",
    404: "There is no such thing, or it is another tenant's.", 405: "Not with this method.",
    406: "Not in a format that is accepted.",
    409: "As things stand that cannot be done.", 412: "The job has another version by now.",
    413: "The body is too large.", 415: "The body is of another type.", 422: "A value breaks a rule.",
    428: "If-Match is needed.", 429: "Too many requests.", 500: "Something went wrong here.",
    503: "The ledger does not answer, or has too much to do; try again.", 504: "Not visible yet; ask again.",
}  # fmt: skip
_PROBLEMS: Final[Mapping[int, tuple[str, str, str | None, str | None]]] = {
    400: ("malformed", "the body is not JSON", "body", "is JSON in UTF-8"),
    401: ("unauthenticated", "nothing proves who asks", "header.Authorization", "is Bearer <key or token>"),
    403: ("not_permitted", "key:4k2m9xq7ta may not do that for tenant acme", None, "needs the permission dlq.requeue"),
    404: ("unknown_tenant", "there is no tenant 'acme'", "path.tenant", "must exist"),
    406: ("not_acceptable", "the answer is application/jsonl", "header.Accept", "takes it"),
    409: ("illegal_transition", "a job that is completed cannot become cancelled", "status", "completed -> cancelled"),
    412: ("version_conflict", "the job is at version 4, not 3", "header.If-Match", "is the job's version"),
    413: ("payload_too_large", "the body is larger than 1,048,576 bytes", "body", "at most 1,048,576 bytes"),
    415: ("unsupported_media_type", "the body is no JSON by its type", "header.Content-Type", "is application/json"),
    422: ("invalid_input", "Input should be a valid integer", "payload.number", "is a whole number"),
    428: ("precondition_required", "say which version of the job you saw", "header.If-Match", "is given"),
    429: ("too_many_requests", "more than 200 requests in a second", None, "at most 200 in a second"),
    500: ("internal_error", "something went wrong here; it was logged", None, None),
    503: ("ledger_unavailable", "the ledger does not answer; try again", None, None),
    504: ("not_yet_visible", "the list has not come to 5f0c.8192 yet", "query.after", "is read within 10 seconds"),
}  # fmt: skip
"""An example of each status: its code, what happened, which field breaks which rule."""
PARAMETERS: Final[Mapping[str, str]] = {
    "tenant": "The tenant's name.", "job_id": "The job's id.", "attempt": "The attempt's number, as its lease has it.",
    "persona": "The persona's name.", "queue": "The queue's name.",
    "key": "The limit key; `gateway:*` is each that begins so.",
    "scope": "What is limited: a queue, a tenant, a persona or a limit key.", "export_id": "The export's id.",
    "operation_id": "The operation's id, as the answer that began it has it.",
    "type": "Only of this job type.", "kind": "Only of this kind.", "error_type": "Only with this error.",
    "fingerprint": "Only with errors of this fingerprint: of one kind.",
    "created_from": "Dispatched at this time, or later.", "created_to": "Dispatched before this time.",
    "from_version": "The version that is compared, from 1.", "after_version": "`next_version` of the page before.",
    "limit": "Rows at most.",
}  # fmt: skip
"""What parameters are that say nothing of themselves."""
ONLY: Final[Mapping[str, str]] = {"persona": "Only of this persona.", "queue": "Only of this queue."}
"""As filters."""
TAGS: Final[Mapping[str, str]] = {
    "jobs": "Dispatch jobs; look at them, at their histories and causes; change them; follow them live.",
    "dlq": "The dead-letter queue: jobs that no retry can help, one by one or all that a filter matches.",
    "operations": "What became of acts that take longer than a request.",
    "queues": "Queues, and what is limited or paused.",
    "workers": "Who works, on which job types; and what workers in any language ask and say.",
    "statistics": "How many jobs were dispatched, ran, failed and died, how long they waited and ran.",
    "tenants": "Whose jobs they are: no tenant sees another's.",
    "keys": "API keys: who may do what, for whom.",
    "projections": "The views that lists are read from: how they stand, and how they are made anew.",
    "audit": "Everything that happened, as it was recorded, and what people did by hand.",
    "health": "Whether a server lives, and can serve.",
}  # fmt: skip
SERVERS: Final = [{"url": "/", "description": "The server that this document is from."}]
_STREAMED: Final[Mapping[str, str]] = {
    "text/event-stream": 'id: 5f0c.12288\ndata: {"position":"5f0c.12288","topic":"job.cancelled"}\n\n',
    "text/csv": "position,id,recorded_at,tenant,topic\r\n5f0c.4096,0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f.1,"
    "2026-03-01T09:30:05.250000Z,acme,job.dispatched\r\n",
    "application/cloudevents+json": '{"specversion":"1.0","id":"0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f.1",'
    '"source":"/jobledger/tenants/acme","type":"job.dispatched"}\n',
    "application/jsonl": '{"position":"5f0c.4096","id":"0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f.1",'
    '"topic":"job.dispatched"}\n',
}  # fmt: skip
"""Answers (abridged) that are read as they come, where their route shows none."""
_MODULES = (
    audit, bulk, dlq, events, health, history, jobs, keys, leases, lists, operations, problem_models, projections,
    queues, statistics, tenants, workers,
)  # fmt: skip

ALWAYS = (400, 401, 403, 404, 413, 422, 429, 500, 503)


def problems(*more: int) -> dict[int | str, Json]:
    """The `responses` of a route: those that any request may get, and `more`."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
            **({"headers": {"Retry-After": {
                "schema": {"type": "integer"}, "description": "Seconds to wait before asking again.",
            }}} if status in (429, 503) else {}),
        }
        for status in sorted({*ALWAYS, *more})
    }  # fmt: skip


class DocumentedApi(FastAPI):
    """An application whose document has what no route says by itself: the schema of problems (as a response's model it
    would be documented as plain JSON), examples, descriptions of parameters, tags and the server."""

    def openapi(self) -> Json:
        """The document, made once."""
        if not self.openapi_schema:
            _complete(super().openapi())
        return super().openapi()


def _complete(document: Json) -> None:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas[Problem.__name__] = Problem.model_json_schema()
    models = _models()
    for name, schema in schemas.items():
        if name in models and (shown := examples_of(models[name])):
            schema["examples"] = shown  # as they are: FastAPI leaves out what is null
    examples = components["examples"] = {f"Problem{status}": _problem(status) for status in sorted(_PROBLEMS)}
    document["servers"] = SERVERS
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    for operation in _operations(document):
        for parameter in operation.get("parameters", ()):
            _describe(parameter)
        for part in (operation.get("requestBody", {}), *operation["responses"].values()):
            for media_type, content in part.get("content", {}).items():
                _show(media_type, content, models, examples)
        for status, response in operation["responses"].items():
            if MEDIA_TYPE in response.get("content", {}):
                content = response["content"][MEDIA_TYPE]
                content["examples"] = {"problem": {"$ref": f"#/components/examples/Problem{status}"}}


def _operations(document: Json) -> Iterator[Json]:
    for methods in document["paths"].values():
        yield from methods.values()


def _describe(parameter: Json) -> None:
    if not parameter.get("description"):
        texts = PARAMETERS if parameter["in"] == "path" else {**PARAMETERS, **ONLY}
        parameter["description"] = texts[parameter["name"]]


def _show(media_type: str, content: Json, models: Mapping[str, type[BaseModel]], examples: Json) -> None:
    """Show the examples of a body's model, or what a stream looks like."""
    if "example" in content or "examples" in content or media_type == MEDIA_TYPE:
        return
    schema = content.get("schema", {})
    name = str(schema.get("$ref", "")).rpartition("/")[2] or schema.get("title", "")
    if name in models:
        shown = {f"{name}{number or ''}": {"value": one} for number, one in enumerate(examples_of(models[name]))}
        examples.update(shown)
        content["examples"] = {each: {"$ref": f"#/components/examples/{each}"} for each in shown}
    elif media_type in _STREAMED:
        content["example"] = _STREAMED[media_type]


def _models() -> dict[str, type[BaseModel]]:
    """The models of bodies, by the names of their schemas."""
    return {
        name: kind
        for module in _MODULES
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, BaseModel)
    }


def examples_of(model: type[BaseModel]) -> list[Any]:
    """The examples that a model has of its own: a subclass of one that has some shows none of those."""
    extra = model.model_config.get("json_schema_extra")
    own = extra.get("examples") if isinstance(extra, dict) else None
    inherited = any(
        base.model_config.get("json_schema_extra") is extra for base in model.__bases__ if hasattr(base, "model_config")
    )
    return list(own) if isinstance(own, list) and not inherited else []


def _problem(status: int) -> Json:
    code, detail, field, rule = _PROBLEMS[status]
    assert STATUS.get(code, status) == status
    problem = make_problem(code, status, detail, field=field, rule=rule, request_id="0b5f2c8e9d7a4f31")
    return {"summary": _DESCRIPTIONS[status], "value": problem.model_dump(exclude_none=True)}
