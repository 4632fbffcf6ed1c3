"""Papers: OAI-PMH repositories and arXiv's Atom API."""
