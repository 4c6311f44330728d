"""unskew.pipeline.synthesis: new rows for rare topics, written by a decoder and agreed to by the encoder."""
