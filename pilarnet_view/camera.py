"""Where a scene is looked at from."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.options import OptionError

__all__ = ["CAMERAS", "Camera"]


@dataclass(frozen=True)
class Camera:
    """A direction to look from, in which y is up.

    Attributes
    ----------
    azimuth, elevation : float
        Degrees. At 0, 0 the viewer is on the z axis, which is the beam, and sees x to the right.
        The azimuth turns the viewer about y, towards x; at an elevation of 90 the viewer is above.
    """

    azimuth: float
    elevation: float

    @classmethod
    def parse(cls, text: str) -> Camera:
        """Read a name of `CAMERAS`, or ``"AZIMUTH,ELEVATION"`` in degrees.

        Raises
        ------
        OptionError
            If the text is neither.
        """
        if text in CAMERAS:
            return CAMERAS[text]
        try:
            azimuth, elevation = map(float, text.split(","))
        except ValueError:
            azimuth = elevation = float("nan")
        if not (abs(azimuth) <= 360 and abs(elevation) <= 90):
            raise OptionError(
                "no such camera",
                field="--camera",
                expected=f"{', '.join(CAMERAS)}, or AZIMUTH,ELEVATION in degrees with an azimuth "
                "of -360 to 360 and an elevation of -90 to 90",
                found=text,
            )
        return cls(azimuth, elevation)

    @property
    def basis(self) -> NDArray[np.float64]:
        """The directions to the right, up and towards the viewer, float64 [3, 3], in rows."""
        azimuth, elevation = np.radians([self.azimuth, self.elevation])
        sin_a, cos_a, sin_e, cos_e = *_sin_cos(azimuth), *_sin_cos(elevation)
        return np.array(
            [
                [cos_a, 0.0, -sin_a],
                [-sin_e * sin_a, cos_e, -sin_e * cos_a],
                [cos_e * sin_a, sin_e, cos_e * cos_a],
            ]
        )

    @property
    def plane(self) -> tuple[int, int] | None:
        """The axes to the right and up if it looks along an axis of the cube, else None."""
        right, up, _ = np.abs(self.basis)
        if max(right.max(), up.max()) < 1 or min(right.max(), up.max()) < 1 - 1e-9:
            return None
        return int(right.argmax()), int(up.argmax())


def _sin_cos(angle: float) -> tuple[float, float]:
    """Return sine and cosine, exactly 0 where they should be."""
    return round(float(np.sin(angle)), 12), round(float(np.cos(angle)), 12)


#: Cameras by name; a projection is named by its axes, to the right and up.
CAMERAS: Final = MappingProxyType(
    {
        "3d": Camera(-60, 25),
        "zy": Camera(-90, 0),
        "zx": Camera(-90, 90),
        "xy": Camera(0, 0),
    }
)
