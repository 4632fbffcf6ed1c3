"""Training: an endless stream of token shards becomes a stream of releases; exact resume, one file a concern."""
