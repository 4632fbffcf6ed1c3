"""Token shards: documents packed to fixed windows, sealed, listed in a manifest, read back in any order."""
