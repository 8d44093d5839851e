"""Measures of what features of particles are worth."""
