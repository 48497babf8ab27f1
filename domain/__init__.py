"""What a job is: events, decisions and policies. Pure: no I/O, no clock, no randomness."""
