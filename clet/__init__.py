"""clet: the Continuous Learning Engine Toolkit."""

__version__ = "0.1.0"
