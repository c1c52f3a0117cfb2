"""Data: the only room where tables enter; everything above it sees panels."""
