"""Geo experiments: which markets go into which cell, what such a split could detect, and what it found."""
