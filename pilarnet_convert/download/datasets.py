"""The public data sets: their names, and where they are.

PILArNet (arXiv:2006.01993) is a project of the Open Science Framework, PILArNet-M a repository of
the Hugging Face hub. The identifiers of files are those that public programs use.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DATASETS", "HUB", "IDENTIFIERS", "OSF", "PROJECT", "REPOSITORIES"]

#: Where the APIs are.
OSF: Final = "https://api.osf.io/v2"
HUB: Final = "https://huggingface.co"

#: The project of PILArNet, which is searched for files without a known identifier.
PROJECT: Final = "vruzp"
#: Identifiers of files, separated by blanks.
IDENTIFIERS: Final = {
    "512": "hb437 bhxpq eagwu uyj5e wbg5q qfv5k 3k7p5 unj32 e5vkw zby9q",
    "768": "yhrcf 834pv 9ep7r audqr wzrt2 rt89a 23hk6 ujfwh fy5es 9y57j "
    "vu2mn xbsev xa2mk s98ja 7epq2 8cb4r s4xyu p7bjn h7pb8 wmt8e",
}
#: The repositories of PILArNet-M.
REPOSITORIES: Final = {
    "pilarnet-m": "DeepLearnPhysics/PILArNet-M",
    "pilarnet-m-mini": "DeepLearnPhysics/PILArNet-M-mini",
}
#: The data sets by name, and what each is.
DATASETS: Final = {
    "pilarnet-192": "PILArNet in cubes of 192 voxels",
    "pilarnet-512": "PILArNet in cubes of 512 voxels, used by the original study",
    "pilarnet-768": "PILArNet in cubes of 768 voxels",
    "pilarnet-m": "PILArNet-M, 1.2 million events, 168 GB",
    "pilarnet-m-mini": "120 events of PILArNet-M, 16 MB",
}
