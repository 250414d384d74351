"""Side-by-side measurements: ours beside the way it is usually done. `make bench` runs them all."""
