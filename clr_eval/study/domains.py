"""The particles on which a study tests its methods."""

from __future__ import annotations

from typing import Final

import numpy as np

from clr_eval.corruptions import CORRUPTIONS
from clr_eval.embedding.split import LoadedSplit, read_split
from clr_eval.study.config import Domain
from clr_train.batch import ParticleBatch
from clr_train.views.config import ViewConfig
from clr_train.views.detector import THROWS
from clr_train.views.make import make_views, thrown

__all__ = ["load_domain"]

#: Particles changed at once: affects memory, not the result.
_BATCH: Final = 256
_SEED: Final = 0
#: Number of the view, which differs from those of training with the same seed.
_VIEW: Final = 4
_TURNED: Final = ViewConfig(augmentations=("rotate",), num_augmentations=1, energy_transform="none")


def load_domain(domain: Domain) -> LoadedSplit:
    """Read the particles of a domain, as its detector reads them."""
    split = read_split(domain.shards, split=domain.split)

    def change(piece: ParticleBatch) -> ParticleBatch:
        if domain.throw is not None:
            detector = THROWS[domain.throw]
            piece = thrown(piece, detector=detector, drift_axis=domain.drift_axis)
        if domain.corruption is not None and domain.level is not None:
            apply = CORRUPTIONS[domain.corruption].apply
            piece = apply(piece, domain.level, _SEED)
        if domain.rotate:
            sites = make_views(piece, seed=_SEED, epoch=0, view=_VIEW, config=_TURNED)
            piece = sites.as_particles(like=piece)
        return piece

    pieces = [change(piece) for piece in split.batch.split(_BATCH)]
    columns = dict(split.columns)
    if domain.rotate:  # the momenta are not turned with the voxels
        columns["momentum"] = np.full_like(columns["momentum"], np.nan)
    return LoadedSplit(batch=ParticleBatch.concatenate(pieces), columns=columns)
