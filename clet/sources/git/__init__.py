"""Git repositories, at a path or a URL."""
