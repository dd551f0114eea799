"""Micrographs: files read, cleaned, searched for particles, classified and reported."""
