"""Before the readout: which method may answer, and the sealed plan."""
