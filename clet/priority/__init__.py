"""Prioritisation: which documents are worth learning, in which order, within which budget and shares."""
