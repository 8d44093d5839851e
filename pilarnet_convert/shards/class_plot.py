"""A picture of what a set of shards holds: counts, voxels and energies of the classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pilarnet_convert.pictures import hide_frames, new_figure, save_figure, set_log_ticks
from pilarnet_convert.shards.reader import Shards
from pilarnet_convert.shards.statistics import particle_table
from pilarnet_convert.species import CLASS_NAMES, CLASSES, COLOURS, PUBLISHED_COUNTS

__all__ = ["plot_classes"]


def plot_classes(shards: Shards, path: Path) -> None:
    """Draw counts, voxels per particle and deposited energy of each class; see `save_figure`."""
    figure = new_figure(13, 4.2)
    particles = particle_table(shards)
    counts, voxels, energy = figure.subplots(1, 3)
    found = np.array([np.count_nonzero(particles["label"] == c.label) for c in CLASSES])
    published = np.array([PUBLISHED_COUNTS[name] for name in CLASS_NAMES], float)
    counts.bar(CLASS_NAMES, found, color=[COLOURS[name] for name in CLASS_NAMES], width=0.7)
    counts.plot(
        CLASS_NAMES,
        published / published.sum() * found.sum(),
        "k_",
        markersize=28,
        markeredgewidth=1.5,
        linestyle="none",
        label="original study, scaled",
    )
    counts.set(ylabel="particles", title="particles of each class")
    counts.yaxis.get_major_locator().set_params(integer=True)
    counts.yaxis.set_major_formatter("{x:,.0f}")
    counts.legend(frameon=False)
    for axes, column, label, title in (
        (voxels, "num_voxels", "voxels", "voxels of a particle"),
        (energy, "energy_deposit", "deposited energy [MeV]", "deposited energy of a particle"),
    ):
        values = particles[column].to_numpy()
        positive = values[np.isfinite(values) & (values > 0)]
        if len(positive):
            num_bins = int(np.clip(np.sqrt(len(positive)), 8, 40))
            bins = np.geomspace(positive.min(), positive.max() * 1.001, num_bins + 1)
            for species in CLASSES:
                axes.hist(
                    values[particles["label"] == species.label],
                    bins=bins,
                    histtype="step",
                    linewidth=1.8,
                    color=COLOURS[species.name],
                    label=species.name,
                )
            set_log_ticks(axes)
        axes.set(xlabel=label, ylabel="particles per bin", title=title)
    handles, labels = voxels.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    hide_frames(figure)
    save_figure(figure, path, option="--plot")
