"""From stored particles to augmented views, as sites of a sparse tensor.

===============  =================================================================================
make             draws augmentations and makes the views of a batch; what may be drawn
augmentations    the augmentations by name
augmented_batch  voxels, and what augmentations have done to them so far
quantise         augmented voxels to sites, as sorted keys
energy           energies as the network sees them
===============  =================================================================================
"""
