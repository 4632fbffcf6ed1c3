"""JSON lines: each a document, or a clet record that comes again."""
