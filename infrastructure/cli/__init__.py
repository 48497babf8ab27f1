"""The command line: typer and rich over the dispatcher."""
