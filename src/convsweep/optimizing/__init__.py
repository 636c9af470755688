"""A copy of the user's model whose convolutions run on the backends that are the fastest here."""
