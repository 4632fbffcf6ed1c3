"""Deduplication on token ids: exact by id and by tokens, near by MinHash, remembered in a persistent index."""
