"""A simulated newsroom: a dated world of facts, publishers who write about it, and a server for their feeds."""
