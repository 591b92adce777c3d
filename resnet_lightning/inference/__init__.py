"""A trained model in use: loaded from its checkpoint, explained, exported."""
