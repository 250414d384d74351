"""After training: register, evaluate, promote, watch, reproduce."""
