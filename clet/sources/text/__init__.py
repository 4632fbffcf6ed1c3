"""From bytes and markup to the text a reader sees."""
