"""Make data/fftw_wisdom.txt: FFTW's plans for the grids of the library.

FFTW times its plans when it first meets a size, and the winner differs from run to run; so do the last
bits of every wave. With stored plans a wave is the same, bit for bit, in every process that has the
same FFTW. Where the stored plans do not apply, FFTW plans afresh and results agree to rounding.

    python data/make_fftw_wisdom.py data/fftw_wisdom.txt
"""

import sys
from pathlib import Path

import abtem
import numpy as np
import pyfftw
from ase import Atoms

GRIDS = (256, 320, 384, 512, 640, 768, 1024, 1280)


def main() -> None:
    atoms = Atoms("AuC", positions=[[3, 3, 1], [4, 3, 3]], cell=[10, 10, 4])
    with abtem.config.set({"dask.lazy": False, "diagnostics.progress_bar": False}):
        for n in GRIDS:
            potential = abtem.Potential(atoms, gpts=n, slice_thickness=2)
            abtem.Waves(np.ones((n, n), np.complex64), energy=200e3, extent=(10, 10)).multislice(potential)
    single_precision = pyfftw.export_wisdom()[1]
    Path(sys.argv[1]).write_bytes(single_precision)


if __name__ == "__main__":
    main()
