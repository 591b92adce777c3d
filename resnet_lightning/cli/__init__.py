"""The command line: one file a subcommand. Nothing outside this folder parses arguments."""
