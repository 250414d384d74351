"""What goes on: rules that stop or redirect running trials, each rebuilt from the ledger's curves alone."""
