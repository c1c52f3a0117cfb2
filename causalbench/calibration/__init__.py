"""How wrong each method is on this history: placebos before the launch, and what follows from their errors."""
