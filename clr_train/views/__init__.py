"""From stored particles to augmented views, as sites of a sparse tensor.

===============  =================================================================================
config           the options: which augmentations are drawn, and how strong each is
make             draws augmentations and makes the views of a batch
augmented_batch  voxels, and what augmentations have done to them so far
energy_changes   augmentations that change energies
voxel_changes    augmentations that add or remove voxels
motions          augmentations that move voxels
throw            another detector: drift, diffusion, and a random one as an augmentation
detector         the parameters of a detector, fixed throws by name, and the formulas
quantise         augmented voxels to sites, as sorted keys
energy           energies as the network sees them
===============  =================================================================================
"""
