"""What goes on, stops or is redirected, from recorded curves alone."""
