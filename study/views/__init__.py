"""What people look at: terminal, status, tables, the parts of the report."""
