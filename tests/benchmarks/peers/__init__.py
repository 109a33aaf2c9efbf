"""The same work on other engines of durable workflows, where they are installed.

`apps/` runs in the peers' own interpreter; everything else is ours and drives it.
"""
