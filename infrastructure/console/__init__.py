"""The console: pages for people, at `/` of a server. What they show and do goes through the same authorization as the
HTTP API, as the identity that logged in."""
