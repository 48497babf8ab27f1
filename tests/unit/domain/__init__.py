"""Tests of what a job is: given these events, when that is decided, then these events follow."""
