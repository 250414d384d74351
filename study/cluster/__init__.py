"""Ray: starting or joining it, its loop, and leaving it."""
