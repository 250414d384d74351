"""The registry as a service: its processes, its users, what each may do, backup and restore."""
