"""A run as one HTML page: what happened while nobody looked."""
