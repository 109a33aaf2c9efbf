"""Sagas: one file each, with its steps, what undoes them and their retries."""
