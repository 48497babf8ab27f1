"""The client of a server, for programs without anything of the server's; `jobledger.client` is its public name.

One core says what is asked, when it is asked again and what answers mean (flows: generators that never wait
themselves); two thin drivers, one for threads and one for coroutines, carry that out with httpx.
"""

try:
    import httpx as httpx
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("the client needs an extra: pip install 'jobledger[client]'", name=error.name) from error
