"""Answers for programs: stable names, types and units, the same from the CLI (`--json`) and over HTTP."""
