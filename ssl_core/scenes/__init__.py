"""Cameras, and the files that describe a scene."""
