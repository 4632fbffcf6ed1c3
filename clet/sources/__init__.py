"""Where documents come from: one adapter a kind of source, one fetcher and one text extraction for all of them."""
