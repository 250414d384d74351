"""The decisions of a study, without Ray: what runs next, what stops, what is kept, what it used."""
