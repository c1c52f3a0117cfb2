"""Decision: from estimates to words that are as strong as the evidence, and no stronger."""
