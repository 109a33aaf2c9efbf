"""The engine that does what sagas say: takes what is due, goes from step to step, survives its own death."""
