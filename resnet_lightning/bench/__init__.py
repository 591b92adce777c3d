"""Speed, each measured beside what a user would pick instead, turn about in one run."""
