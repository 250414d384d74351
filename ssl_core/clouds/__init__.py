"""Plain point clouds: positions, perhaps normals and colours."""
