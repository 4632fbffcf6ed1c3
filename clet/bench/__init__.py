"""Benches, one file each, and the simulated newsroom that they and the quickstart read."""
