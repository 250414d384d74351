"""Clouds of 3D Gaussians and the files they come in."""
