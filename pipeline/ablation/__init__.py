"""unskew.pipeline.ablation: runs the arms of a comparison and reports on them."""
