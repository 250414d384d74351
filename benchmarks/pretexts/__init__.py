"""What pretraining buys on real meshes: each loss term and feature set, three seeds, beside what has to be beaten."""
