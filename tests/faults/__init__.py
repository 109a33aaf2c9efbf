"""Faults: the whole service under load while its parts are killed, frozen and started again."""
