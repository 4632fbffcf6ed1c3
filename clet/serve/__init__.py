"""Serving: the OpenAI API over continuously batched decoding, with releases swapped in live."""
