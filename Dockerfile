# Two stages: the first builds the environment, the second holds it and runs as a user without rights.

FROM python:3.12-slim AS build
ARG UV_VERSION=0.13.9
# More of pyproject.toml's extras, for images that run the example: "--extra events --extra server --extra demo".
ARG EXTRAS="--extra events --extra server"
ENV UV_PROJECT_ENVIRONMENT=/srv/jobledger/venv UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN pip install --no-cache-dir "uv==${UV_VERSION}"
WORKDIR /build
# The dependencies first: they change less often than the code.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project ${EXTRAS}
COPY domain domain
COPY application application
COPY projections projections
COPY infrastructure infrastructure
COPY src src
RUN uv sync --frozen --no-dev --no-editable ${EXTRAS}

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /srv/jobledger --shell /usr/sbin/nologin jobledger
COPY --from=build /srv/jobledger/venv /srv/jobledger/venv
# The programs that declare jobs lie in /srv/jobledger/apps: an image of your own copies them there.
COPY examples /srv/jobledger/apps/examples
ENV PATH=/srv/jobledger/venv/bin:$PATH PYTHONPATH=/srv/jobledger/apps PYTHONUNBUFFERED=1
WORKDIR /srv/jobledger/apps
USER 10001
# The database answers and its schema is this program's.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["jobledger", "migrate", "--check"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["jobledger"]
CMD ["up", "--app", "examples.condominium:app"]
