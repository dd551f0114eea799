"""Simulation: optics, film, multislice, exit waves, imaging, whole micrographs, and how right they are."""
