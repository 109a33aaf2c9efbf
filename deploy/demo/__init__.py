"""The demo: the sample commands against a real stack, shown as it happens, and checked."""
