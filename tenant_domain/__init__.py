"""The domain of the tenant service: pure rules, no I/O, no clocks, no randomness."""
