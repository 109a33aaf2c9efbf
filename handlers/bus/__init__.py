"""The doors on NATS, and the streams behind them."""
