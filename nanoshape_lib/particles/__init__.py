"""Particles: the five shapes, their orientation, thermal motion and strain, decoys, structure factors."""
