"""Many runs as one: each a labelled set of overrides of a config."""
