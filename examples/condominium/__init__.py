"""A SaaS for condominiums: several tenants, several personas, real work, all of it on jobledger.

`services/` and `provider*.py` know nothing of jobledger: they are what a company would have had before. Job handlers
only call them (a job holds no business rule).
"""

from .jobs import app

__all__ = ["app"]
