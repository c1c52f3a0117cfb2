"""Numerics: arrays in, frozen results out; no panels, no tables, no global state."""
