"""What a study will cost, before it is run: a short probe on the real slots, then many simulated studies."""
