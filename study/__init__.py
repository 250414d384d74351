import ssl_core.own_packages  # noqa: F401 - `registry` and `search_spaces` are ours, whatever the path holds
