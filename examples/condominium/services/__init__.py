"""Application services of the condominium company: plain Python, idempotent, with typed errors."""
