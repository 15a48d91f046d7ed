"""Tokens in an API's answers: where they stand, what they are, how long they live."""
