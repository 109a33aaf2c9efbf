"""The projector: committed events → read models, in batches, with their position."""
