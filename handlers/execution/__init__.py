"""Commands, from their bytes to their outcome: decode, decide in batches, append in one transaction."""
