"""The encoder, a sparse ConvNeXt V2, and its parts.

=============  ===================================================================================
models         the sizes of encoders by name
encoder        encoder and projection head
layers         convolutions, normalisation and blocks
response_norm  global response normalisation of each particle by itself; on CUDA in
               triton_response_norm
box_counting   how large a particle is at each scale
shape          energy and shape of a particle in numbers that faint voxels hardly change
typical        their mean and deviation over typical particles
constants      numbers as tensors, made once for each device
=============  ===================================================================================
"""
