"""Bounded-staleness synchronisation: workers push what they learned, a server merges it, nobody waits for a barrier."""
