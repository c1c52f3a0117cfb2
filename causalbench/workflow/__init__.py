"""Workflow: the only modules that know every stage; each stage is one call."""
