"""What answers the clients of `jobledger.testing`: the API's routes over a ledger in memory, without a server.

Requests and answers are those of the real thing, and one set of tests runs against both.
"""

from .serving import FakeServer

__all__ = ["FakeServer"]
