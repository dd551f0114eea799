"""Validated parameters of the microscope and of its camera."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import constants


class Microscope(BaseModel):
    """The electron-optical side: energy, aberrations, coherence and objective aperture.

    Widths of the focal spread and of the convergence are 1/e half widths of Gaussians, as in abTEM.
    Spherical aberration is positive for an uncorrected lens. No value here is the paper's: its
    microscope is not known to us.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    energy_eV: float = Field(200e3, ge=60e3, le=400e3)
    Cs_A: float = Field(-150e3, ge=-5e7, le=5e7)
    focal_spread_A: float = Field(30.0, ge=0.0, le=200.0)
    convergence_mrad: float = Field(0.3, ge=0.0, le=2.0)
    aperture_mrad: float = Field(25.0, gt=0.0, le=30.0)

    @property
    def wavelength_A(self) -> float:
        """Relativistic electron wavelength [Å] (Kirkland 2010, eq. 2.5)."""
        rest_energy_eV = constants.m_e * constants.c**2 / constants.e
        hc_eV_A = constants.h * constants.c / constants.e * 1e10
        return hc_eV_A / np.sqrt(self.energy_eV * (2 * rest_energy_eV + self.energy_eV))

    @property
    def aperture_per_A(self) -> float:
        """Radius of the objective aperture as a spatial frequency [1/Å]."""
        return self.aperture_mrad * 1e-3 / self.wavelength_A

    @property
    def scherzer_defocus_A(self) -> float:
        """Scherzer's defocus [Å], positive for underfocus: sign(Cs) sqrt(abs(Cs) λ) times sqrt(1.5)."""
        return float(np.sign(self.Cs_A) * np.sqrt(1.5 * abs(self.Cs_A) * self.wavelength_A))


class Camera(BaseModel):
    """The camera: pixels, dose and modulation transfer function.

    The transfer function of scintillator and read-out, beside the integration over the pixel, is
    ``(1 - mtf_c1) / (1 + (k / (2 mtf_c2))**mtf_c3) + mtf_c1`` with ``k`` in units of the camera's
    Nyquist frequency; it is one at ``k = 0``. ``dose_e_A2=None`` means no noise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixels: int = Field(128, ge=16, le=4096)
    pixel_size_A: float = Field(1.0, gt=0.05, le=10.0)
    dose_e_A2: float | None = Field(1000.0, gt=0.0, le=1e7)
    mtf_c1: float = Field(0.1, ge=0.0, le=1.0)
    mtf_c2: float = Field(0.4, gt=0.0, le=10.0)
    mtf_c3: float = Field(2.0, gt=0.0, le=10.0)

    @property
    def field_A(self) -> float:
        """Side of the square field of view [Å]."""
        return self.pixels * self.pixel_size_A
