"""unskew.pipeline.synthesis: new rows for rare topics, written by a decoder and confirmed by the encoder."""
