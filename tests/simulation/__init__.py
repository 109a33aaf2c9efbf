"""A deterministic simulation of the saga runner: its real code in a made-up world, on a clock of its own."""
