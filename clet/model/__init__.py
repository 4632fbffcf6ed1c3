"""One model code for training and serving: decoders in Hugging Face layout, in plain torch."""
