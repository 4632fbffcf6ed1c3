"""The way to the network: polite, bounded, confined to the open internet, and on the record."""
