"""How text becomes token ids: the reference engine, an exact fast one, and what decides between them."""
