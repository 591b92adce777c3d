"""Writes and reads what a run leaves on disk: its folder, checkpoints and logs."""
