"""Whether a rewritten model still computes what it did, on inputs chosen to hurt."""
