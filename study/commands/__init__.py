"""The command line, one file per part of the journey. Heavy imports happen inside the commands, so help is instant."""
