"""HTTP messages: header fields, bodies that stream, our own answers, what is recorded."""
