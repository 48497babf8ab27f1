"""What one can do: commands, queries, their handlers and the ports that they need."""
