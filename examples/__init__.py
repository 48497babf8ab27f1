"""Runnable examples of jobledger; none of them is part of the wheel."""
