"""A FastAPI handler that does nothing, behind uvicorn as `jobledger serve` runs it: what HTTP itself costs."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.post("/")
async def nothing() -> dict[str, str]:
    """Nothing."""
    return {}


def main(port: int) -> None:
    """Serve it on a port, until SIGTERM."""
    uvicorn.run(app, host="127.0.0.1", port=port, log_config=None, access_log=False, server_header=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
