"""What a browser holds, and what the API gets for it."""
