"""All of Ray: joining it, its loop, the warm workers, submitted studies."""
