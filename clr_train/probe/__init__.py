"""How good the features of particles are.

===========  =====================================================================================
features     the features of all particles of a stream
handcrafted  features as a physicist would define them, to compare with
classifiers  classifiers, a projection and a search for neighbours
probes       accuracy of classifiers on frozen features
geometry     how projections lie on the unit sphere
figures      drawings of maps, confusion matrices and neighbours
===========  =====================================================================================
"""
