"""Which version is champion, and why: the gate, the promotion history, comparisons, adopted versions."""
