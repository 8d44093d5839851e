"""A study: methods compared as the detector departs from the simulation.

========  ===================================================================================
methods   the methods by name, and how each pretrains
config    a study, read from a TOML file
domains   the particles on which methods are tested
groups    what is computed together: a seed of the methods that share a pretraining
costs     how long it will take
dann      a domain-adversarial classifier
results   what is trained and predicted, kept so that a study can be interrupted
metrics   accuracy by domain, stability of particles, what features hold
figures   figures, as PNG and PDF
text      the report as Markdown and HTML
study     all of it together
cli       the command clr-study
========  ===================================================================================
"""
