"""Options for one API in a file of its own: a recipe, or a profile beside a front end."""
