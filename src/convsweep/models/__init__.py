"""The user's own model: `advise` and `optimize`."""
