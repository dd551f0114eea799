"""Data sets: their design, the store of exit waves, generation, and images formed from waves."""
