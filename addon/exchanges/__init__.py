"""The kinds of exchange, from the request's head to the answer."""
