"""unskew.ablation.report: results.json as a page, tables and pictures. Knows the results alone; runs nothing."""
