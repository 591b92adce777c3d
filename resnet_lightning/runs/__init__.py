"""What a run leaves on disk: its folder and checkpoints, how they are written, and how they are read back."""
