"""A study: methods compared as the detector departs from the simulation.

========  ===================================================================================
methods   the methods by name, and how each pretrains
config    a study, read from a TOML file
domains   the particles on which methods are tested
dann      a domain-adversarial classifier
plan      its runs, and how long they will take
runs      what they train and predict, kept so that a study can be interrupted
metrics   accuracy by domain, stability of particles, what features hold
figures   figures, as PNG and PDF
text      the report as Markdown and HTML
study     all of it together
cli       the command clr-study
========  ===================================================================================
"""
