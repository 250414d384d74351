"""From meshes to views and fitted Gaussians."""
