"""What people look at: terminal, status, tables, the HTML report."""
