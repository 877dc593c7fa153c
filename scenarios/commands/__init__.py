"""Bodies of `twin` commands that are more than a call."""
