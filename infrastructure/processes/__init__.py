"""Child processes that run handlers (`isolation="process"`).

Three kinds of process. The **worker** has threads, so it never forks: it starts one **zygote**, which imports the
program once, has no threads, and forks **children** on request, in milliseconds. A child talks to its worker over a
socket of its own; the zygote only starts, ends and reaps children, and ends them all when its worker is gone.

Standard library only, besides what the application brings. POSIX; what only Linux has stands in `linux.py`.
"""
