"""Meeting places with other libraries. Nothing here is imported unless it is used."""
