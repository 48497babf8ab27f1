"""The HTTP API: routes, identities, problems. Everything that can be done goes through the application's messages."""
