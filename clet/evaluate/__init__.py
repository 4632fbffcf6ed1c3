"""Measuring: what a model knows (perplexity) and what a release was made of (provenance)."""
