"""Feeds: RSS, RDF, Atom, JSON Feed, and lists of them."""
