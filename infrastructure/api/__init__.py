"""What travels over HTTP, for servers and clients alike: pydantic models that import nothing else of jobledger."""
