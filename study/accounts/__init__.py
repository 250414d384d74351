"""What a study holds and what it used it for, in slot-seconds."""
